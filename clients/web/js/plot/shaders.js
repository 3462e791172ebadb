/** Shaders: one program for points and one for lines, with the same camera uniforms. */

const PLACE = `#version 300 es
precision highp float;
layout(location = 0) in vec3 coordinates;
layout(location = 1) in vec4 look;   // colour, shape, state (0 hidden, 1 plain, 2 raised), size in half pixels
uniform mat3 turn;
uniform vec3 pivot;
uniform vec2 centre;
uniform vec2 scale;                  // from world units to clip space
uniform sampler2D palette;
vec3 rotated() { return pivot + turn * (coordinates - pivot); }
vec4 projected(vec3 at) { return vec4((at.xy - centre) * scale, 0.0, 1.0); }
vec4 paint() { return texelFetch(palette, ivec2(int(look.x + 0.5), 0), 0); }
`;

export const POINT_VERTEX = `${PLACE}
uniform float ratio;
uniform float depth;
uniform float only;                  // 0: all points, 1: points that are not raised, 2: raised points
flat out vec4 colour;
flat out float shape;
flat out float size;
void main() {
  vec3 at = rotated();
  gl_Position = projected(at);
  gl_Position.z = -clamp((at.z - pivot.z) * depth, -0.99, 0.99);
  shape = look.y;
  size = look.w * 0.5 * ratio + (look.z > 1.5 ? 2.0 * ratio : 0.0);
  gl_PointSize = size;
  colour = paint();
  bool isOut = look.z < 0.5 || (only > 0.5 && (look.z > 1.5) != (only > 1.5));
  if (isOut) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
}`;

export const POINT_FRAGMENT = `#version 300 es
precision mediump float;
flat in vec4 colour;
flat in float shape;
flat in float size;
uniform float opacity;
uniform vec3 rim;
uniform bool smooth_;
out vec4 shown;
void main() {
  vec2 from = gl_PointCoord - 0.5;
  bool diamond = shape > 2.5;
  float reach = diamond ? (abs(from.x) + abs(from.y)) : length(from) * 1.0;
  float inside = (0.5 - reach) * size;            // pixels from the edge
  if (inside <= 0.0) discard;
  vec3 tone = colour.rgb;
  float alpha = shape > 0.5 ? 1.0 : opacity;
  float width = max(1.0, size * 0.16);
  if (shape > 0.5 && shape < 1.5) {               // ring
    if (inside > width + 0.5) { if (!smooth_) discard; alpha = 0.0; }
    alpha *= clamp(width + 0.5 - inside, 0.0, 1.0);
  } else if (shape > 1.5 && inside < width) {     // disc or diamond with a rim
    tone = rim;
  }
  if (smooth_) alpha *= clamp(inside, 0.0, 1.0);
  shown = vec4(tone * alpha, alpha);
}`;

export const LINE_VERTEX = `${PLACE}
flat out vec4 colour;
flat out float state;
void main() {
  gl_Position = projected(rotated());
  colour = paint();
  state = look.z;
}`;

export const LINE_FRAGMENT = `#version 300 es
precision mediump float;
flat in vec4 colour;
flat in float state;
uniform float opacity;
out vec4 shown;
void main() {
  if (state < 0.5) discard;
  shown = vec4(colour.rgb * opacity, opacity);
}`;

/**
 * Compiles and links a program. `at` looks up uniform locations by name.
 *
 * @throws {Error} with the driver's log
 */
export function program(gl, vertex, fragment) {
  const linked = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(linked, shader);
  }
  gl.linkProgram(linked);
  if (!gl.getProgramParameter(linked, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(linked));
  const locations = new Proxy({}, { get: (known, name) => (known[name] ??= gl.getUniformLocation(linked, name)) });
  return { program: linked, at: locations };
}
