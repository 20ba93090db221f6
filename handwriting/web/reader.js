// A model of this course in the browser: `handwriting.models.Reader`, with ONNX Runtime Web.

import { toForm, UNSURE } from "./ink.js";
import * as ort from "./ort.wasm.bundle.min.mjs";

const CHOICES = 5;

ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1; // more would need headers that a plain file server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", import.meta.url).href };

/**
 * Fetch a model that `saving.save` has written, and what stands beside it.
 *
 * @param {string} name of its files, such as "lenet".
 * @returns {{origin, card, transliterations, strokes, ready, probabilities, read}}
 *   origin: whose model it is, in words. card: as `cards.Card`.
 *   transliterations, strokes: of each class, empty for digits.
 *   ready: a promise, fulfilled once the model can answer.
 *   probabilities(image): of the classes, for a grid of uint8 in the model's form; a promise.
 *   read(picture): what is drawn on it: a promise of {sure, choices, steps}, as `models.Answer`;
 *     fails with `InkError` where nothing can be read.
 */
export async function reader(name) {
  const content = fetched(`${name}.onnx`).then((response) => response.arrayBuffer());
  const session = content.then((bytes) => ort.InferenceSession.create(new Uint8Array(bytes)));
  session.catch(() => {}); // as `ready`, for who waits for it
  const beside = await (await fetched(`${name}.json`)).json();
  const { origin, card, transliterations, strokes } = beside;
  const side = card.side;

  async function probabilities({ data }) {
    const ink = Float32Array.from(data, (value) => value / 255);
    const images = new ort.Tensor("float32", ink, [1, 1, side, side]);
    return (await (await session).run({ images })).probabilities.data;
  }

  async function read(picture) {
    const steps = toForm(picture, card);
    const found = await probabilities(steps.normalised);
    const order = Array.from(found.keys()).sort((a, b) => found[b] - found[a]);
    const choices = order.slice(0, CHOICES).map((i) => ({
      text: card.classes[i],
      transliteration: transliterations[i] ?? "",
      probability: found[i],
      strokes: strokes[i],
    }));
    const sure = choices[0].probability >= card.threshold && steps.doubt < UNSURE;
    return { sure, choices, steps };
  }

  // The first run takes longer than all others: not when someone waits for it.
  const ready = probabilities({ data: new Uint8Array(side * side) });
  ready.catch(() => {}); // for who waits for it
  return { origin, card, transliterations, strokes, ready, probabilities, read };
}

async function fetched(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name}: HTTP status ${response.status}`);
  return response;
}
