// Turn a picture of one character into what the models were trained on: `handwriting.ink`. The same
// steps with the same results, from pixels that the browser has decoded; `paper.js`, `parts.js` and
// `surface.js` are Python's modules of these names.

import table from "./forms.js";
import {
  above, blurred, bounded, distances, gaussian, grid, labelled, longer, mapped, median, most,
  padded, pasted, resized, round, selected, skeleton, sum,
} from "./images.js";
import { allFound, found } from "./paper.js";
import { cut, InkError, refused, several } from "./parts.js";

export { InkError };
export const DOUBTFUL = table.ink.doubtful; // doubt with which no answer is sure

// What these numbers mean stands in handwriting/ink.py.
const {
  busiest: BUSIEST, fine: FINE, half: HALF,
  mnist_box: MNIST_BOX, mnist_pens: MNIST_PENS, mnist_usual: MNIST_USUAL,
  tamil_longer: TAMIL_LONGER, tamil_margin: TAMIL_MARGIN, tamil_pen: TAMIL_PEN,
} = table.ink;

/**
 * Bring a picture to the form that a model's card names.
 *
 * @param {ImageData} picture without transparent parts.
 * @param {object} card {form: "mnist" or "tamil", side, proportions}
 * @returns {{ink, crop, box, normalised, pen, doubt}} as `ink.Steps`: grids of uint8, 0 is paper,
 *   255 is ink; box: left, top, right, bottom, as shares of the picture's sides; pen: its width as a
 *   share of the character's longer side; doubt: from 0 to 1.
 * @throws {InkError} the picture shows no character; with `several` set where it shows more digits.
 */
export function toForm(picture, { form, side, proportions }) {
  known(form);
  const one = found(picture);
  if (form === "mnist") {
    const { count } = several(one.crop);
    const { message } = refused("several", `${count} `);
    if (count > 1) throw Object.assign(new InkError(`the picture: ${message}`), { several: true });
  }
  return placedIn(one, { form, side, proportions });
}

/** Bring every separate character on a picture to a form, row by row; see `toForm`. */
export function allToForm(picture, card) {
  known(card.form);
  return allFound(picture).map((one) => placedIn(one, card));
}

function known(form) {
  if (!table.forms[form]) throw new RangeError(`form is ${form}, which forms.js does not have.`);
}

function placedIn(one, { form, side, proportions }) {
  const steps = form === "mnist" ? asMnist(one) : asTamil(one, proportions);
  if (steps.normalised.width === side) return steps;
  const values = { ...steps.normalised, data: Float32Array.from(steps.normalised.data) };
  return { ...steps, normalised: mapped(resized(values, side, side, "bilinear"), round) };
}

function asMnist(one) {
  const { crop } = one;
  const { fine, pen, ends } = measured(crop);
  const doubt = Math.max(one.doubt, several(crop).doubt, DOUBTFUL * (ends > BUSIEST));
  const [thin, thick] = MNIST_PENS;
  let drawn = crop;
  if (pen > thick) drawn = thinner(fine, pen, MNIST_USUAL[1]);
  else if (pen < thin) drawn = thicker(fine, pen, MNIST_USUAL[0]);
  const small = resizedTo(drawn, MNIST_BOX, "box");
  const brighter = Math.fround(255 / most(small.data));
  const bright = mapped(small, (v) => round(Math.min(Math.fround(v * brighter), 255)));
  return { ...one, normalised: placedByMass(bright, table.forms.mnist.side), pen, doubt };
}

function asTamil(one, proportions) {
  const { crop } = one;
  const { fine, pen } = measured(crop);
  const wanted = TAMIL_PEN / TAMIL_LONGER;
  const near = wanted / 1.5 < pen && pen < 1.5 * wanted;
  const drawn = near ? crop : redrawn(fine, pen, wanted);
  const margin = round((longer(drawn) * TAMIL_MARGIN) / TAMIL_LONGER);
  const { side } = table.forms.tamil;
  return { ...one, normalised: placed(padded(drawn, margin), side, proportions), pen };
}

// ------------------------------------------------------------------------------ the models' form

/** Place an image in a square as MNIST's makers did: `shapes.place_by_centre_of_mass`. */
function placedByMass(image, side) {
  let [total, sumX, sumY] = [0, 0, 0];
  image.data.forEach((value, i) => {
    total += value;
    sumX += value * (i % image.width);
    sumY += value * Math.floor(i / image.width);
  });
  const start = (sum, size) => {
    const free = round(side / 2 - sum / total);
    return Math.min(side - size, Math.max(0, free));
  };
  const square = grid(side, side);
  pasted(square, image, start(sumX, image.width), start(sumY, image.height));
  return square;
}

/** Fit a letter into a square, with an even pen: `shapes.placed`. */
function placed(picture, side, proportions) {
  const room = side - 2 * Math.max(1, Math.floor(side / 32));
  let ratio = Math.min(picture.width, picture.height) / longer(picture);
  if (proportions === "adapted") ratio = Math.sqrt(Math.sin((Math.PI / 2) * ratio));
  const shorter = Math.max(1, round(room * ratio));
  const [width, height] = picture.width >= picture.height ? [room, shorter] : [shorter, room];
  const square = grid(side, side);
  const [left, top] = [width, height].map((size) => Math.floor((side - size) / 2));
  pasted(square, resized(picture, width, height, "bilinear"), left, top);
  return evenPen(square);
}

/** Make all strokes about equally wide and dark: `shapes.even_pen`. */
function evenPen(picture) {
  const soft = blurred(picture, longer(picture) / 100);
  const darkest = most(soft.data);
  const ink = soft.data.filter((value) => value > darkest / 4);
  if (!ink.length) return picture;
  const mean = Math.fround(sum(ink) / ink.length);
  const darker = Math.fround((1.3 * 255) / mean);
  return mapped(soft, (value) => round(Math.min(255, Math.fround(value * darker))));
}

// ------------------------------------------------------------------------------------- the pen

/** Return the character with longer side `FINE` and the width of its pen, as a share of that. */
function measured(crop) {
  let fine = padded(resizedTo(crop, FINE, "bicubic"), 1);
  const darkest = most(fine.data);
  if (darkest <= HALF) fine = mapped(fine, (value) => round(value * (255 / darkest))); // a hairline
  const mask = inked(fine);
  const pen = 2 * median(selected(distances(mask).data, skeleton(mask).data));
  return { fine, pen: pen / FINE, ends: endsOf(mask, pen) };
}

/** Return how many ends a character's strokes have, plus two for each loop; the pen in pixels. */
function endsOf(mask, pen) {
  const smooth = above(gaussian(padded(mask, 3), pen / 8), 0.5); // an enlarged picture has steps
  const { width, data } = skeleton(smooth); // nothing along its edges: it has a margin
  const around = [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1];
  let ends = 0;
  data.forEach((there, i) => {
    if (there && sum(around.map((step) => data[i + step])) === 1) ends += 1;
  });
  const { areas } = labelled(mapped(smooth, (inside) => !inside), false);
  return ends + 2 * (areas.slice(1).filter((area) => area > 0.15 * pen * pen).length - 1);
}

function inked(fine) {
  return above(fine, HALF);
}

/** Peel the strokes off on both sides. */
function thinner(fine, pen, wanted) {
  const mask = inked(fine);
  const less = (FINE * (pen - wanted)) / 2;
  const drawn = mapped(distances(mask), (d) => bounded(d - less + 0.5, 1), Float64Array);
  if (partCount(above(drawn, 0.5)) !== partCount(mask)) {
    return redrawn(fine, pen, wanted); // peeling would break or lose a stroke
  }
  return cut(mapped(drawn, (value) => value * 255));
}

function partCount(mask) {
  return labelled(mask).areas.length - 1;
}

/** Add ink around the strokes. */
function thicker(fine, pen, wanted) {
  return around(inked(fine), (FINE * (wanted - pen)) / 2);
}

/** Draw along the middle of the strokes. */
function redrawn(fine, pen, wanted) {
  // Where a thick pen has nearly closed a loop, its inside is still a little lighter than what is
  // around it.
  const near = gaussian(fine, 0.6 * FINE * pen).data;
  const mask = mapped(
    fine, (value, i) => value > HALF && value >= Math.fround(near[i] - Math.fround(0.1)),
  );
  const smooth = gaussian(mask, Math.max(0.5, (FINE * pen) / 16));
  const thin = skeleton(mask).data;
  const middle = skeleton(mapped(smooth, (value, i) => value > 0.5 || thin[i]));
  return around(middle, (FINE * wanted) / 2);
}

/** Return ink up to `reach` pixels from the mask, cropped. */
function around(mask, reach) {
  const larger = padded(mask, Math.ceil(reach) + 1);
  const away = distances(mapped(larger, (inside) => !inside));
  return cut(mapped(away, (distance) => bounded(reach + 0.5 - distance, 1) * 255));
}

/** Resize, proportions kept, until the longer side is `longest`. */
function resizedTo(image, longest, filter) {
  const scale = longest / longer(image);
  const side = (length) => Math.max(1, round(length * scale));
  return resized(image, side(image.width), side(image.height), filter);
}
