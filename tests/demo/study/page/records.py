"""A record of a study with all reasons, for tests of pages."""

from __future__ import annotations

from demo.study.plan import Size
from demo.study.record import Done, Record

MOVEMENT = [
    {
        "run": "pilot-soft-squad",
        "prior": "isotropic",
        "seed": seed,
        "lr": 0.05,
        "steps": 4,
        "points": [{"step": 0, "moved": 0.0, "bound": 0.0}, {"step": 4, "moved": moved, "bound": 2.0}],
        "between_draws": 0.5,
    }
    for seed, moved in ((0, 1.0), (1, 2.0))
]
FITS = [
    {"layer": 29, "n": 128, "shrinkage": "none", "method": "none", "log_density": None},
    {"layer": 29, "n": 128, "shrinkage": "oas", "method": "oas", "log_density": -1.25},
    {"layer": 29, "n": 256, "shrinkage": "none", "method": "none", "log_density": -1.5},
]
WIDTH = {"value": 0.5, "low": 0.25, "high": 0.75}
TEMPLATE = [
    {
        "pair": ["a", "b"],
        "layer": 10,
        "form": "bare",
        "silhouette": WIDTH,
        "agreement": 1.0,
        "p_value": 0.01,
        "apart": True,
    },
    {
        "pair": ["a", "b"],
        "layer": 10,
        "form": "template",
        "silhouette": WIDTH,
        "agreement": 0.0,
        "p_value": 0.5,
        "apart": False,
    },
]
RECORD = Record(
    plan="smollm2",
    size=Size(steps=60),
    minutes=110.0,
    token_s=5e-4,
    n_records={"squad": 900},
    rates={"soft": 0.05},
    searched={"soft": {"0.005": 2.0, "0.05": 1.0}},
    runs={
        "soft-squad": Done(run_id="run-1", seconds=600.0, predicted_s=300.0, prompts=("a@1", "b@1")),
        "map-pca": Done(run_id="run-2", seconds=60.0, facts={"n_points": 60000.0}),
    },
    left_out=("deep-squad",),
    reasons={"movement": MOVEMENT, "fits": FITS, "template": TEMPLATE},
)
