"""Long runs on RQ workers: tuning, evaluation, harvests, maps, reports and draws of priors."""
