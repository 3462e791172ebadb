/** A map as a figure: lines, points and a legend on a 2-D context. */
import { colour } from "../shell/theme.js";
import { palette } from "./palette.js";

const LEGEND_WIDTH = 190;
const MAX_NAME = 26;

/**
 * The figure of what a map shows now.
 *
 * @param {PointMap} map
 * @param {{name: string, colour: number}[]} keys entries of the legend
 * @param {string} caption one line below the map
 * @param {(context) => void} over paints above the points
 */
export function mapFigure(map, { name, keys, caption, rows, over }) {
  const { width, height } = map.camera;
  const paint = (context) => {
    const colours = palette().map((tone) => `rgb(${tone.join(",")})`);
    drawLines(context, map, colours);
    drawPoints(context, map, colours);
    over(context);
    drawLegend(context, { keys, colours, caption, width, height });
  };
  return { name, width: Math.round(width + LEGEND_WIDTH), height: Math.round(height), paint, rows };
}

function drawLines(context, map, colours) {
  const { coordinates, looks } = map.lines;
  context.lineWidth = 1;
  context.globalAlpha = 0.55;
  for (let k = 0; k < coordinates.length / 6; k++) {
    if (!looks[8 * k + 2]) continue;
    const end = (at) => map.camera.toScreen(coordinates[at], coordinates[at + 1], coordinates[at + 2]);
    context.strokeStyle = colours[looks[8 * k]];
    context.beginPath();
    context.moveTo(...end(6 * k));
    context.lineTo(...end(6 * k + 3));
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** Visible points in drawing order; raised ones last, as on the screen. */
function drawPoints(context, map, colours) {
  const { looks } = map;
  const { width, height } = map.camera;
  for (const state of [1, 2]) {
    for (let i = 0; i < looks.length / 4; i++) {
      if (looks[4 * i + 2] !== state) continue;
      const [x, y] = map.camera.toScreen(...map.coordinatesOf(i));
      if (x >= 0 && y >= 0 && x <= width && y <= height)
        drawPoint(context, {
          x,
          y,
          shape: looks[4 * i + 1],
          radius: looks[4 * i + 3] / 4,
          tone: colours[looks[4 * i]],
        });
    }
  }
}

/** Shapes: 0 disc, 1 ring, 2 disc with a rim, 3 diamond. */
function drawPoint(context, { x, y, shape, radius, tone }) {
  context.fillStyle = context.strokeStyle = tone;
  context.beginPath();
  if (shape === 3) {
    context.moveTo(x, y - radius);
    for (const [dx, dy] of [
      [radius, 0],
      [0, radius],
      [-radius, 0],
    ])
      context.lineTo(x + dx, y + dy);
    context.closePath();
  } else context.arc(x, y, radius, 0, 2 * Math.PI);
  context.lineWidth = 1.6;
  if (shape === 1) context.stroke();
  else context.fill();
  if (shape !== 2) return;
  context.lineWidth = 1.2;
  context.strokeStyle = colour("ink");
  context.stroke();
}

function drawLegend(context, { keys, colours, caption, width, height }) {
  context.fillStyle = colour("surface");
  context.fillRect(width, 0, LEGEND_WIDTH, height);
  context.font = "12px sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "left";
  keys.forEach((key, i) => {
    const y = 22 + 20 * i;
    context.fillStyle = colours[key.colour];
    context.beginPath();
    context.arc(width + 16, y, 5, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = colour("ink");
    const name = key.name ?? "none";
    context.fillText(name.length > MAX_NAME ? `${name.slice(0, MAX_NAME - 1)}…` : name, width + 28, y);
  });
  context.fillStyle = colour("ink-2");
  context.fillText(caption, 10, height - 14);
}
