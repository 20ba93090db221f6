// ONNX Runtime Web on the CPU, from the file that the site's build has packed to a sixth.

import { unpacked } from "./lzma.js";
import * as ort from "./ort.wasm.bundle.min.mjs";

export const Tensor = ort.Tensor;
let binary; // a promise of the runtime's WebAssembly

ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1; // more would need headers that a plain file server does not send

/** Fetch a file, which must be there; a promise of the response. */
export async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.split("/").pop()}: HTTP status ${response.status}`);
  return response;
}

/** Return the bytes of a file that has been packed; a promise. */
export async function whole(url) {
  return unpacked(new Uint8Array(await (await fetched(url)).arrayBuffer()));
}

/** Make a model ready to run: its file's bytes, and where the packed runtime is; a promise. */
export async function session(model, runtime = new URL("runtime.lzma", import.meta.url).href) {
  binary ??= whole(runtime);
  ort.env.wasm.wasmBinary = await binary;
  return ort.InferenceSession.create(new Uint8Array(model));
}
