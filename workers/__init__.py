"""Workers: long-running work in RQ jobs, such as tuning, sampling of priors, harvests, maps and reports.

The code that runs models and stores results is shared with the service: workers import ``service.engine`` and
``service.store`` as a library. ``workers.jobs`` lists the kinds of work; ``workers.running`` executes them.
"""
