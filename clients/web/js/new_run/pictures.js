/**
 * Pictures of priors: draws in a plane, by the formula of each prior, over a cloud of source points (grey). They are examples
 * in two dimensions, not draws for the model of the form.
 */
import { svg } from "../dom/elements.js";

const N_SOURCE = 70;
const N_DRAWS = 12;
/** Standard deviations of the source along its principal axes, and their rotation in radians. */
const SOURCE = { along: 0.34, across: 0.12, angle: -0.5, center: [0.12, 0.05] };

/** The picture of a prior; null for kinds without one. */
export function priorPicture(kind) {
  const draw = Object.hasOwn(DRAWS, kind) ? DRAWS[kind] : null;
  if (!draw) return null;
  const random = generator(7);
  const source = Array.from({ length: N_SOURCE }, () => gaussian(random, 1));
  const dot =
    (name, r) =>
    ([x, y]) =>
      svg("circle", { class: name, cx: (50 + 45 * x).toFixed(1), cy: (32 - 45 * y).toFixed(1), r });
  return svg(
    "svg",
    { viewBox: "0 0 100 64", class: "prior-picture", "aria-hidden": "true" },
    source.map(dot("source", 1.3)),
    draw(source, generator(11)).map(dot("draw", 2)),
  );
}

const times = (n, make) => Array.from({ length: n }, make);

const DRAWS = {
  isotropic: (source, random) => times(N_DRAWS, () => [0.07 * normal(random), 0.07 * normal(random)]),
  xavier: (source, random) => times(N_DRAWS, () => [0.28 * (2 * random() - 1), 0.28 * (2 * random() - 1)]),
  vocabulary: (source, random) => times(N_DRAWS, () => source[Math.floor(random() * source.length)]),
  text: (source) => source.slice(0, 6),
  gaussian: (source, random) => times(N_DRAWS, () => gaussian(random, 1)),
  exclusion: (source, random) => {
    // c^(2/d) with c = 5 and d = 2 widens the covariance by 5; draws in the dense core are rejected.
    const found = [];
    while (found.length < N_DRAWS) {
      const [u, v] = [normal(random) * Math.sqrt(5), normal(random) * Math.sqrt(5)];
      if (u * u + v * v > 4) found.push(placed(u, v));
    }
    return found.map(([x, y]) => [Math.max(-1, Math.min(1, x)), Math.max(-0.65, Math.min(0.65, y))]);
  },
  interpolation: (source, random) =>
    times(N_DRAWS, () => {
      const [a, b, weight] = [
        gaussian(random, 0.5),
        [-0.75 + 0.06 * normal(random), 0.35 + 0.06 * normal(random)],
        random(),
      ];
      return [weight * a[0] + (1 - weight) * b[0], weight * a[1] + (1 - weight) * b[1]];
    }),
  knn: (source, random) =>
    times(N_DRAWS, () => {
      const candidates = times(16, () => {
        const [x, y] = source[Math.floor(random() * source.length)];
        return [x + 0.14 * normal(random), y + 0.14 * normal(random)];
      });
      const far = (point) =>
        source.map((one) => Math.hypot(one[0] - point[0], one[1] - point[1])).sort((a, b) => a - b)[5];
      return candidates.reduce((best, one) => (far(one) > far(best) ? one : best));
    }),
};

function gaussian(random, scale) {
  return placed(scale * normal(random), scale * normal(random));
}

/** A point with the coordinates `u`, `v` in standard deviations along the principal axes. */
function placed(u, v) {
  const { along, across, angle, center } = SOURCE;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [center[0] + along * u * cos - across * v * sin, center[1] + along * u * sin + across * v * cos];
}

function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Pseudo-random numbers in [0, 1) (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
