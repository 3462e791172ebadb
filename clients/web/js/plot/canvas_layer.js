/** WebGL 2 renderer of points and lines. It handles no gestures and does not know what points mean. */
import { colour } from "../shell/theme.js";
import { palette, rgb } from "./palette.js";
import { LINE_FRAGMENT, LINE_VERTEX, POINT_FRAGMENT, POINT_VERTEX, program } from "./shaders.js";

const POINT_BYTES = 12;
const LOOK_BYTES = 4;
/** The largest step between drawn points: WebGL limits strides to 255 bytes. */
export const MAX_STEP = Math.floor(255 / POINT_BYTES);

export class CanvasLayer {
  /** @throws {Error} if the browser has no WebGL 2 */
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", {
      antialias: false,
      alpha: false,
      stencil: false,
      powerPreference: "high-performance",
    });
    if (!gl)
      throw new Error(
        "This browser has no WebGL 2, which maps need. Enable graphics acceleration or use another browser.",
      );
    this.gl = gl;
    this.canvas = canvas;
    /** Antialiased and translucent points; expensive without a GPU. */
    this.isSmooth = true;
    this.setUp();
  }

  /** Creates programs, buffers and textures; called again when a lost context is restored. */
  setUp() {
    const { gl } = this;
    this.points = { ...program(gl, POINT_VERTEX, POINT_FRAGMENT), n: 0, ...this.#buffers() };
    this.lines = { ...program(gl, LINE_VERTEX, LINE_FRAGMENT), n: 0, ...this.#buffers() };
    this.texture = gl.createTexture();
    this.setColours();
  }

  /** @param {Float32Array} coordinates `[n, 3]` @param {Uint8Array} looks `[n, 4]`: colour, shape, state, size in half pixels */
  setPoints(coordinates, looks) {
    this.#fill(this.points, coordinates, looks);
    this.hasRaised = false;
  }

  /** hasRaised: some points are raised; they are drawn above all others. */
  setLooks(looks, { hasRaised }) {
    const { gl } = this;
    this.hasRaised = hasRaised;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.points.looks);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, looks);
  }

  /** Two coordinates and looks per line segment. */
  setLines(coordinates, looks) {
    this.#fill(this.lines, coordinates, looks);
  }

  /** Uploads the colours of the current theme. */
  setColours() {
    const { gl } = this;
    const colours = palette();
    const texels = new Uint8Array(colours.flatMap((tone) => [...tone, 255]));
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, colours.length, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    this.paper = rgb(colour("plot")).map((value) => value / 255);
    this.rim = rgb(colour("ink")).map((value) => value / 255);
  }

  /**
   * Draws the picture of `camera`. A `step` above 1 draws only every so many points, for fast frames during a gesture: points of
   * one rank are shuffled, so that these are a fair sample of them.
   */
  draw(camera, { ratio, step = 1, isSolid = false }) {
    const { gl } = this;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(...this.paper, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.enable(gl.BLEND);
    gl.disable(gl.DEPTH_TEST);
    if (this.lines.n) {
      this.#use(this.lines, camera);
      gl.uniform1f(this.lines.at.opacity, 0.55);
      gl.drawArrays(gl.LINES, 0, this.lines.n);
    }
    if (!this.points.n) return;
    if (!this.isSmooth) gl.disable(gl.BLEND);
    if (isSolid) gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL); // of points at equal depth the later one is on top
    this.#use(this.points, camera, step);
    const { at } = this.points;
    gl.uniform1f(at.ratio, ratio);
    gl.uniform1f(at.depth, isSolid ? camera.scale / Math.max(camera.width, camera.height) : 0);
    gl.uniform1f(at.opacity, this.isSmooth && !isSolid ? 0.8 : 1);
    gl.uniform1i(at.smooth_, this.isSmooth ? 1 : 0);
    gl.uniform3fv(at.rim, this.rim);
    for (const only of this.hasRaised ? [1, 2] : [0]) {
      gl.uniform1f(at.only, only);
      gl.drawArrays(gl.POINTS, 0, Math.ceil(this.points.n / step));
    }
  }

  /** Resolves when the GPU has finished all draw calls. */
  async settled() {
    const { gl } = this;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    while (!gl.isContextLost() && gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    gl.deleteSync(fence);
  }

  #buffers() {
    return { coordinates: this.gl.createBuffer(), looks: this.gl.createBuffer() };
  }

  #fill(kind, coordinates, looks) {
    const { gl } = this;
    kind.n = coordinates.length / 3;
    gl.bindBuffer(gl.ARRAY_BUFFER, kind.coordinates);
    gl.bufferData(gl.ARRAY_BUFFER, coordinates, gl.STATIC_DRAW);
    gl.bindBuffer(gl.ARRAY_BUFFER, kind.looks);
    gl.bufferData(gl.ARRAY_BUFFER, looks, gl.DYNAMIC_DRAW);
  }

  #use(kind, camera, step = 1) {
    const { gl } = this;
    gl.useProgram(kind.program);
    gl.bindBuffer(gl.ARRAY_BUFFER, kind.coordinates);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, step * POINT_BYTES, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, kind.looks);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribPointer(1, LOOK_BYTES, gl.UNSIGNED_BYTE, false, step * LOOK_BYTES, 0);
    gl.uniformMatrix3fv(kind.at.turn, true, camera.turn);
    gl.uniform3fv(kind.at.pivot, camera.pivot);
    gl.uniform2fv(kind.at.centre, camera.centre);
    gl.uniform2f(kind.at.scale, (2 * camera.scale) / camera.width, (2 * camera.scale) / camera.height);
  }
}
