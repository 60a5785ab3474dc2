declare module '@mediapipe/selfie_segmentation/selfie_segmentation_solution_simd_wasm_bin.js' {
  /** The loader of the WebAssembly, which the build turns into a module. */
  export default function load(options: { locateFile(path: string): string }): Promise<unknown>;
}
