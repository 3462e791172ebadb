"""Reports: the findings of arXiv 2412.18582, tested on a given model, prompts and datasets.

``evidence`` reads prompts, states and trajectories; ``findings`` measures each finding and applies its decision rule;
``rendering`` draws the figures and the HTML page.
"""
