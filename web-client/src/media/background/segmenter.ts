// Tells a person from what is behind them: MediaPipe's selfie segmentation, whose WebAssembly this
// file drives itself, because the package's own script needs a page and this runs in a worker.

import graphUrl from '@mediapipe/selfie_segmentation/selfie_segmentation.binarypb?url';
import modelUrl from '@mediapipe/selfie_segmentation/selfie_segmentation_landscape.tflite?url';
import loadSolution from '@mediapipe/selfie_segmentation/selfie_segmentation_solution_simd_wasm_bin.js';
import wasmUrl from '@mediapipe/selfie_segmentation/selfie_segmentation_solution_simd_wasm_bin.wasm?url';

/** What the frames and the masks are called in the package's graph. */
const INPUT = 'input_frames_gpu';
const OUTPUT = 'segmentation_mask';
/** Where the graph looks for its model. */
const MODEL_PATH =
  'third_party/mediapipe/modules/selfie_segmentation/selfie_segmentation_landscape.tflite';

interface Deletable {
  delete(): void;
}
interface Texture {
  glName: number;
  width: number;
  height: number;
}
interface List<T> extends Deletable {
  push_back(item: T): void;
}
interface Packets extends Deletable {
  pushTexture2d(packet: Texture & { stream: string; timestamp: number }): void;
}
interface Graph extends Deletable {
  loadGraph(bytes: ArrayBuffer): void;
  overrideFile(path: string, bytes: ArrayBuffer): void;
  attachMultiListener(streams: List<string>, listener: unknown): void;
  changeOptions(options: List<object>): void;
  send(packets: Packets): void;
}
/** What the WebAssembly offers, as much of it as is used here. */
interface Solution {
  canvas: OffscreenCanvas;
  createContext(canvas: OffscreenCanvas, gl: true, set: true, attributes: object): unknown;
  createTexture(): number;
  bindTexture2d(glName: number): void;
  SolutionWasm: new () => Graph;
  PacketDataList: new () => Packets;
  StringList: new () => List<string>;
  GraphOptionChangeRequestList: new () => List<object>;
  PacketListener: {
    implement(listener: {
      onResults(results: { get(index: number): (Texture & Partial<Deletable>) | undefined }): void;
    }): unknown;
  };
}

export interface Segmenter {
  /** Opaque where the person is. Valid until the next call. */
  mask(frame: CanvasImageSource & TexImageSource, width: number, height: number): OffscreenCanvas;
  close(): void;
}

export async function loadSegmenter(): Promise<Segmenter> {
  const [solution, graphBytes, model] = await Promise.all([
    loadSolution({ locateFile: () => wasmUrl }) as Promise<Solution>,
    bytesOf(graphUrl),
    bytesOf(modelUrl),
  ]);
  const canvas = new OffscreenCanvas(1, 1);
  const context = solution.createContext(canvas, true, true, { alpha: true });
  if (!context) throw new Error('there is no WebGL here');
  // Not earlier: with a canvas, the making of the context looks for a page around it.
  solution.canvas = canvas;
  const gl = canvas.getContext('webgl2') as WebGL2RenderingContext | null;
  if (!gl) throw new Error('there is no WebGL 2 here');

  const graph = new solution.SolutionWasm();
  graph.overrideFile(MODEL_PATH, model);
  graph.loadGraph(graphBytes);
  choose(solution, graph);
  const draw = maskDrawer(gl);
  const input = solution.createTexture();
  let started = false;
  listen(solution, graph, (mask) => {
    gl.canvas.width = mask.width;
    gl.canvas.height = mask.height;
    gl.activeTexture(gl.TEXTURE0);
    solution.bindTexture2d(mask.glName);
    draw(mask.width, mask.height);
    solution.bindTexture2d(0);
  });
  let timestamp = 0;

  return {
    mask(frame, width, height) {
      canvas.width = width;
      canvas.height = height;
      gl.activeTexture(gl.TEXTURE0);
      solution.bindTexture2d(input);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, frame);
      solution.bindTexture2d(0);
      const packets = new solution.PacketDataList();
      // Its clock only has to go forward, in microseconds.
      timestamp += 1_000;
      packets.pushTexture2d({ glName: input, width, height, stream: INPUT, timestamp });
      // The listener is called before this returns.
      graph.send(packets);
      packets.delete();
      started = true;
      return canvas;
    },
    close() {
      if (started) graph.delete();
    },
  };
}

/** The wide one of the two models, and inference by the CPU, whose SIMD is quick on every machine. */
function choose(solution: Solution, graph: Graph): void {
  const options = new solution.GraphOptionChangeRequestList();
  options.push_back({
    calculatorType: 'ConstantSidePacketCalculator',
    calculatorName: 'ConstantSidePacketCalculatorModelSelection',
    calculatorIndex: 0,
    fieldName: 'int_value',
    valueNumber: 1,
    valueBoolean: false,
    valueString: '',
  });
  options.push_back({
    calculatorType: 'InferenceCalculator',
    calculatorName: '',
    calculatorIndex: 0,
    fieldName: 'use_cpu_inference',
    valueNumber: 0,
    valueBoolean: true,
    valueString: '',
  });
  graph.changeOptions(options);
  options.delete();
}

function listen(solution: Solution, graph: Graph, onMask: (mask: Texture) => void): void {
  const streams = new solution.StringList();
  streams.push_back(OUTPUT);
  const listener = solution.PacketListener.implement({
    onResults(results) {
      const mask = results.get(0);
      if (!mask) return;
      onMask(mask);
      mask.delete?.();
    },
  });
  graph.attachMultiListener(streams, listener);
  streams.delete();
}

/** Draws the bound texture over the whole canvas, upright. */
function maskDrawer(gl: WebGL2RenderingContext): (width: number, height: number) => void {
  const program = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, VERTEX_SHADER],
    [gl.FRAGMENT_SHADER, FRAGMENT_SHADER],
  ] as const) {
    const shader = gl.createShader(kind);
    if (!shader) throw new Error('WebGL gave up');
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    throw new Error(`the mask's shader: ${gl.getProgramInfoLog(program)}`);
  }
  const sampler = gl.getUniformLocation(program, 'mask');
  return (width, height) => {
    // The graph shares this context and leaves its own state behind.
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, width, height);
    gl.disable(gl.BLEND);
    gl.colorMask(true, true, true, true);
    gl.useProgram(program);
    gl.uniform1i(sampler, 0);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  };
}

/** A quad out of the index alone, so that no buffers of the graph are disturbed. */
const VERTEX_SHADER = `#version 300 es
out vec2 place;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  place = vec2(corner.x, 1.0 - corner.y);
  gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}`;
const FRAGMENT_SHADER = `#version 300 es
precision mediump float;
uniform sampler2D mask;
in vec2 place;
out vec4 colour;
void main() {
  // What is hardly a person is background, and what is nearly one is whole.
  colour = vec4(smoothstep(0.3, 0.8, texture(mask, place).a));
}`;

async function bytesOf(url: string): Promise<ArrayBuffer> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.arrayBuffer();
}
