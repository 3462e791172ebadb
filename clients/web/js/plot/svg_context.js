/** The part of a 2-D canvas context that the charts use, as a writer of SVG. The same code draws the picture and the file. */

export class SvgContext {
  #parts = [];
  #path = [];
  #dash = [];

  constructor(width, height) {
    Object.assign(this, { width, height });
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, globalAlpha: 1 });
    Object.assign(this, { font: "11px sans-serif", textAlign: "start", textBaseline: "alphabetic" });
  }

  /** The finished file. */
  toString() {
    const { width, height } = this;
    const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`;
    return `${head}\n${this.#parts.join("\n")}\n</svg>\n`;
  }

  /** Pictures in SVG have no pixels to scale. */
  scale() {}

  setLineDash(lengths) {
    this.#dash = lengths;
  }

  beginPath() {
    this.#path = [];
  }

  moveTo(x, y) {
    this.#path.push(`M${short(x)} ${short(y)}`);
  }

  lineTo(x, y) {
    this.#path.push(`${this.#path.length ? "L" : "M"}${short(x)} ${short(y)}`);
  }

  closePath() {
    this.#path.push("Z");
  }

  /** Full circles only. */
  arc(x, y, radius) {
    const r = short(radius);
    const [left, right] = [short(x - radius), short(x + radius)];
    this.#path.push(`M${left} ${short(y)}A${r} ${r} 0 1 0 ${right} ${short(y)}A${r} ${r} 0 1 0 ${left} ${short(y)}`);
  }

  stroke() {
    const dash = this.#dash.length ? ` stroke-dasharray="${this.#dash.join(" ")}"` : "";
    const style = `fill="none" stroke="${escaped(this.strokeStyle)}" stroke-width="${this.lineWidth}"${dash}`;
    this.#add(`<path d="${this.#path.join("")}" ${style} stroke-linejoin="round"`);
  }

  fill() {
    this.#add(`<path d="${this.#path.join("")}" fill="${escaped(this.fillStyle)}"`);
  }

  fillRect(x, y, width, height) {
    const box = `x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}"`;
    this.#add(`<rect ${box} fill="${escaped(this.fillStyle)}"`);
  }

  fillText(text, x, y) {
    const [, size, family] = /([\d.]+)px (.*)/.exec(this.font);
    const anchor = { right: "end", end: "end", center: "middle" }[this.textAlign] ?? "start";
    const shift = { top: 0.8, middle: 0.35 }[this.textBaseline] ?? 0;
    const style = `font-size="${size}" font-family="${escaped(family)}" text-anchor="${anchor}" fill="${escaped(this.fillStyle)}"`;
    const at = `x="${short(x)}" y="${short(y + shift * Number(size))}"`;
    this.#parts.push(`<text ${at} ${style}>${escaped(String(text))}</text>`);
  }

  /** An estimate: the widths of letters are those of the viewer's font. */
  measureText(text) {
    return { width: String(text).length * Number(/([\d.]+)px/.exec(this.font)[1]) * 0.56 };
  }

  #add(start) {
    this.#parts.push(`${start}${this.globalAlpha < 1 ? ` opacity="${this.globalAlpha}"` : ""}/>`);
  }
}

function short(value) {
  return String(Math.round(value * 100) / 100);
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
