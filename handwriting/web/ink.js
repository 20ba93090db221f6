// Turn a drawing of one character into what the models were trained on: `handwriting.ink` for
// pictures whose paper fills them, such as the drawing pad's. The same steps with the same results.
// What only photos need is left out: a sheet on a desk, frames around a character, ruled lines,
// paper of one colour that is mostly covered, crumpled paper, every character of a page. Where
// Python would go on looking for those, no answer is sure here, or the picture is refused.

import table from "./forms.js";
import {
  above, blurred, boxOf, cropped, distances, gaussian, grid, labelled, mapped, median, otsu, padded,
  pasted, percentile, resized, round, selected, skeleton, spread, within,
} from "./images.js";

// What these numbers mean stands in handwriting/ink.py and paper.py.
const {
  coarse: COARSE, fine: FINE, half: HALF, least_clearness: LEAST_CLEARNESS,
  least_contrast: LEAST_CONTRAST, most_parts: MOST_PARTS, near: NEAR, working: WORKING,
  mnist_box: MNIST_BOX, mnist_pens: MNIST_PENS, mnist_usual: MNIST_USUAL,
  tamil_longer: TAMIL_LONGER, tamil_margin: TAMIL_MARGIN, tamil_pen: TAMIL_PEN,
} = table.ink;
const FINER = 3 * WORKING;
const LEAST = 0.16;
const [LITTLE, TOO_MUCH] = [0.15, 0.75]; // doubt: Python looks no further; it refuses
export const UNSURE = 0.5; // doubt with which no answer is sure

/** A picture shows no character; the message says why. */
export class InkError extends Error {}

/**
 * Bring a drawing to the form that a model's card names.
 *
 * @param {ImageData} picture without transparent parts.
 * @param {object} card {form: "mnist" or "tamil", side, proportions}
 * @returns {{ink, crop, normalised, pen, doubt}} as `ink.Steps`: grids of uint8, 0 is paper, 255 is
 *   ink; pen: its width as a share of the character's longer side; doubt: from 0 to 1.
 * @throws {InkError} the picture shows no character.
 */
export function toForm(picture, { form, side, proportions }) {
  if (!table.forms[form]) throw new RangeError(`form is ${form}, which forms.js does not have.`);
  const steps = form === "mnist" ? toMnist(picture) : toTamil(picture, proportions);
  return { ...steps, normalised: resized(steps.normalised, side, side, "bilinear") };
}

function toMnist(picture) {
  const { ink, crop, doubt: before } = found(picture);
  const doubt = Math.max(before, several(crop));
  const { fine, pen } = measured(crop);
  const [thin, thick] = MNIST_PENS;
  let drawn = crop;
  if (pen > thick) drawn = thinner(fine, pen, MNIST_USUAL[1]);
  else if (pen < thin) drawn = thicker(fine, pen, MNIST_USUAL[0]);
  const small = resizedTo(drawn, MNIST_BOX, "box");
  const brighter = Math.fround(255 / small.data.reduce((a, b) => Math.max(a, b)));
  const bright = mapped(small, (v) => round(Math.min(Math.fround(v * brighter), 255)));
  return { ink, crop, normalised: placedByMass(bright, table.forms.mnist.side), pen, doubt };
}

function toTamil(picture, proportions) {
  const { ink, crop, doubt } = found(picture);
  const { fine, pen } = measured(crop);
  const wanted = TAMIL_PEN / TAMIL_LONGER;
  const near = wanted / 1.5 < pen && pen < 1.5 * wanted;
  const drawn = near ? crop : redrawn(fine, pen, wanted);
  const margin = round((longer(drawn) * TAMIL_MARGIN) / TAMIL_LONGER);
  const { side } = table.forms.tamil;
  return { ink, crop, normalised: placed(padded(drawn, margin), side, proportions), pen, doubt };
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
  const most = soft.data.reduce((a, b) => Math.max(a, b));
  const ink = soft.data.filter((value) => value > most / 4);
  if (!ink.length) return picture;
  const mean = Math.fround(ink.reduce((a, b) => a + b, 0) / ink.length);
  const darker = Math.fround((1.3 * 255) / mean);
  return mapped(soft, (value) => round(Math.min(255, Math.fround(value * darker))));
}

// ------------------------------------------------------------------------------------- the pen

/** Return the character with longer side `FINE` and the width of its pen, as a share of that. */
function measured(crop) {
  const fine = padded(resizedTo(crop, FINE, "bicubic"), 1);
  const mask = inked(fine);
  return { fine, pen: (2 * median(selected(distances(mask).data, skeleton(mask).data))) / FINE };
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

function cut(ink) {
  return cropped(ink, boxOf(ink, 64));
}

// ------------------------------------------------------------------------------------- the ink

/** Return the whole picture as ink on paper, the character cut out of it, and the doubt. */
function found(picture) {
  const colours = planes(picture);
  const large = longer(picture) > 1.3 * WORKING;
  let [best, first] = [null, null];
  for (const longest of large ? [WORKING, FINER] : [WORKING]) {
    try {
      const look = inkOf(colours.map((colour) => within(colour, longest)), longest > WORKING);
      const small = Math.max(...sidesOf(look.box)) < LEAST * longest;
      // it deserves a finer look
      if (small && longer(picture) > 1.3 * longest) look.doubt = Math.max(look.doubt, 0.2);
      if (!best || look.doubt < best.doubt) best = look;
      if (best.doubt < LITTLE) break;
    } catch (error) {
      if (!(error instanceof InkError)) throw error;
      first ??= error;
    }
  }
  if (!best || best.doubt > TOO_MUCH) throw first ?? refusal("unclear");
  const { ink: whole, box } = best;
  // In a photo, whose paper is never quite even, Python would now look for what is not ported.
  const sought = best.doubt >= LITTLE && best.noise > 0.5;
  const doubt = sought ? Math.max(best.doubt, UNSURE) : best.doubt;
  const scale = longer(picture) / longer(whole);
  const size = Math.max(...sidesOf(box));
  if (scale < 1.3 || size >= NEAR) return { ink: whole, crop: cut(whole), doubt };
  // A small character in a large picture: look at it once more, from closer.
  const room = 0.4 * size * scale;
  const near = {
    left: round(Math.max(box.left * scale - room, 0)),
    top: round(Math.max(box.top * scale - room, 0)),
    right: round(Math.min(box.right * scale + room, picture.width)),
    bottom: round(Math.min(box.bottom * scale + room, picture.height)),
  };
  let closer = whole;
  try {
    closer = inkOf(colours.map((colour) => within(cropped(colour, near), WORKING))).ink;
  } catch (error) {
    if (!(error instanceof InkError)) throw error; // what was seen from afar will do
  }
  return { ink: whole, crop: cut(closer), doubt };
}

/** Return red, green and blue. */
function planes({ width, height, data }) {
  const colours = [0, 1, 2].map(() => grid(width, height));
  const [red, green, blue] = colours.map((colour) => colour.data);
  for (let i = 0, k = 0; i < red.length; i++, k += 4) {
    red[i] = data[k];
    green[i] = data[k + 1];
    blue[i] = data[k + 2];
  }
  return colours;
}

/** Find the ink; return it with the box around it, the doubt, and the paper's noise. */
function inkOf(colours, finer = false) {
  let strength = strengthOf(colours, colours.map((colour) => within(colour, COARSE)));
  let noise = noiseOf(strength);
  if (noise > 1) {
    strength = gaussian(strength, 0.7);
    noise = noiseOf(strength);
  }
  const { mask, pen, doubt } = character(maskOf(strength, noise));
  const level = median(selected(strength.data, mask.data));
  const box = boxOf(mask);
  const { width, height } = mask;
  const rim = edges(mask, box).some(Boolean);
  if (finer && rim) refuse("unclear"); // a large character was seen before
  if (rim && pen > 0.2 * Math.max(box.right - box.left, box.bottom - box.top)) {
    const steepest = percentile(selected(slopes(strength).data, mask.data), 99);
    if (steepest * pen < 6 * level) refuse("shadow");
  }
  const near = spread(mask, Math.max(1, round(Math.min(3, pen / 3)))).data;
  const low = Math.min(2.5 * noise, 0.3 * level);
  const [least, more] = [Math.fround(low), Math.fround(255 / (level - low))];
  const ink = grid(width, height);
  for (let i = 0; i < near.length; i++) {
    if (!near[i]) continue;
    const value = Math.fround(Math.fround(strength.data[i] - least) * more);
    ink.data[i] = round(bounded(value, 255));
  }
  return { ink, box, doubt, noise };
}

/** Return the standard deviation of the paper, from the median: ink does not count. */
function noiseOf(strength) {
  const sampled = everyOther(strength, 2);
  const middle = median(sampled);
  return 1.4826 * median(sampled.map((value) => Math.abs(value - middle)));
}

/**
 * Estimate the paper behind the ink, also where it is plain: what is taken for paper near a stroke
 * decides about pixels on its edge, and those about the stroke's middle line.
 *
 * A quadratic surface that most pixels lie on, and what is left of it, averaged over those pixels.
 *
 * @returns {Float32Array grids} of the three colours, as large as `like`.
 */
function paperOf(small, like) {
  const { width, height } = small[0];
  const count = width * height;
  const terms = Array.from({ length: 6 }, () => new Float64Array(count));
  const rim = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const x = width > 1 ? -1 + (2 * (i % width)) / (width - 1) : -1;
    const y = height > 1 ? -1 + (2 * Math.floor(i / width)) / (height - 1) : -1;
    [1, x, y, x * x, x * y, y * y].forEach((term, k) => (terms[k][i] = term));
    rim[i] = Math.max(Math.abs(x), Math.abs(y)) > 0.85;
  }
  const everywhere = new Uint8Array(count).fill(1);
  const colours = small.map(({ data }) => new Float64Array(data));
  let surfaces = colours.map((colour) => new Float64Array(count).fill(median(colour)));
  let rests = colours.map((colour, band) => minus(colour, surfaces[band].slice()));
  let away = largest(rests);
  // Least squares, with little weight for what lies far from the surface; first along the rim,
  // which is mostly paper. The third that fits best tells the spread: ink may cover nearly half.
  for (let step = 0; step < 8; step++) {
    const seen = step < 3 ? rim : everywhere;
    const deviation = Math.max(1, 2.2 * percentile(selected(away, seen), 35));
    const weights = away.map((value, i) => seen[i] / (1 + (value / (2 * deviation)) ** 2));
    surfaces = fitted(terms, colours, weights);
    rests = colours.map((colour, band) => minus(colour, surfaces[band].slice()));
    away = largest(rests);
  }
  const deviation = Math.max(1, 2.2 * percentile(away, 35));
  const known = { width, height, data: away.map((value) => (value < 3 * deviation ? 1 : 0)) };
  const weight = gaussian(known, COARSE / 10).data;
  return rests.map((rest, band) => {
    const counted = { width, height, data: rest.map((value, i) => value * known.data[i]) };
    const near = gaussian(counted, COARSE / 10).data;
    const paper = grid(width, height, Float32Array);
    for (let i = 0; i < count; i++) {
      paper.data[i] = surfaces[band][i] + near[i] / (weight[i] + 0.1);
    }
    return resized(paper, like.width, like.height, "bilinear");
  });
}

/** Return the differences, in place of `others`. */
function minus(values, others) {
  for (let i = 0; i < others.length; i++) others[i] = values[i] - others[i];
  return others;
}

/** Return the largest change of the three colours at each pixel. */
function largest([red, green, blue]) {
  const result = red.slice();
  for (let i = 0; i < result.length; i++) {
    result[i] = Math.max(Math.abs(red[i]), Math.abs(green[i]), Math.abs(blue[i]));
  }
  return result;
}

/** Return, for each colour, the sum of the terms that fits it best: weighted least squares. */
function fitted(terms, colours, weights) {
  const rows = [];
  terms.forEach((term, k) => {
    const weighted = term.slice();
    for (let i = 0; i < weighted.length; i++) weighted[i] *= weights[i];
    rows[k] = [...terms, ...colours].map((other, column) => {
      if (column < k) return rows[column][k]; // the same both ways
      let total = column === k ? 1e-3 : 0;
      for (let i = 0; i < other.length; i++) total += weighted[i] * other[i];
      return total;
    });
  });
  for (let k = 0; k < rows.length; k++) { // Gauss and Jordan; the matrix is positive definite
    const pivot = rows[k].map((value) => value / rows[k][k]);
    rows.forEach((row, other) => {
      rows[other] = other === k ? pivot : row.map((value, i) => value - row[k] * pivot[i]);
    });
  }
  return colours.map((colour, band) => {
    const surface = new Float64Array(colour.length);
    terms.forEach((term, k) => {
      const factor = rows[k][terms.length + band];
      for (let i = 0; i < surface.length; i++) surface[i] += factor * term[i];
    });
    return surface;
  });
}

/** Return how far each pixel differs from the paper in the direction of the ink's colour. */
function strengthOf(colours, small) {
  const { width, height } = colours[0];
  const papers = paperOf(small, colours[0]).map(({ data }) => data);
  const changes = colours.map(({ data }, band) => minus(data, papers[band].slice()));
  const size = largest(changes);
  const sampled = new Float32Array(Math.ceil(size.length / 5));
  for (let i = 0; i < sampled.length; i++) sampled[i] = size[5 * i];
  const far = Math.max(1, 0.5 * percentile(sampled, 99.5));
  const direction = mainDirection(changes, (i) => size[i] > far);
  const strength = grid(width, height, Float32Array);
  const [r, g, b] = direction.map((part) => Math.fround(part / Math.sqrt(3))); // grey: its value
  const [red, green, blue] = changes;
  for (let i = 0; i < red.length; i++) {
    strength.data[i] = r * red[i] + g * green[i] + b * blue[i];
  }
  if (r + g + b >= 0) return strength;
  // Dark ink takes away a share of the light, which may be uneven.
  const light = new Float32Array(red.length);
  for (let i = 0; i < light.length; i++) {
    light[i] = -r * papers[0][i] - g * papers[1][i] - b * papers[2][i];
  }
  const usual = median(everyOther({ width, height, data: light }, 4));
  const least = 0.2 * usual + 1;
  for (let i = 0; i < light.length; i++) {
    strength.data[i] *= Math.fround(usual / Math.max(light[i], least));
  }
  return strength;
}

/** Return the values of every `step`-th pixel of every `step`-th row. */
function everyOther({ width, height, data }, step) {
  const values = new Float32Array(Math.ceil(width / step) * Math.ceil(height / step));
  for (let y = 0, k = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) values[k++] = data[y * width + x];
  }
  return values;
}

/** Return the unit vector that most of the changes lie along, and point to; zeros without any. */
function mainDirection(changes, counts) {
  const [red, green, blue] = changes;
  let [rr, rg, rb, gg, gb, bb] = [0, 0, 0, 0, 0, 0];
  const along = [0, 0, 0];
  for (let i = 0; i < red.length; i++) {
    if (!counts(i)) continue;
    const [r, g, b] = [red[i], green[i], blue[i]];
    rr += r * r;
    rg += r * g;
    rb += r * b;
    gg += g * g;
    gb += g * b;
    bb += b * b;
    along[0] += r;
    along[1] += g;
    along[2] += b;
  }
  let direction = along; // the power method: dark ink on white changes all pixels alike
  for (let step = 0; step < 20; step++) {
    const length = Math.hypot(...direction);
    if (!length) return [0, 0, 0];
    const [r, g, b] = direction.map((part) => part / length);
    direction = [rr * r + rg * g + rb * b, rg * r + gg * g + gb * b, rb * r + gb * g + bb * b];
  }
  const length = Math.hypot(...direction);
  return direction.map((part) => part / length);
}

/** Divide ink from paper. */
function maskOf(strength, noise) {
  const free = strength.data;
  const few = Math.min(30, 1 + Math.floor(free.length / 200)); // the smallest character that counts
  const strong = selected(free, above(strength, Math.fround(LEAST_CONTRAST - 0.01)).data).sort();
  const top = strong.length < few ? 0 : strong[strong.length - few];
  if (top < LEAST_CONTRAST) refuse("empty");
  const sampled = new Float32Array(Math.ceil(free.length / 3));
  for (let i = 0; i < sampled.length; i++) sampled[i] = bounded(free[3 * i], top);
  const threshold = Math.max(otsu(sampled), 3 * noise);
  const inside = selected(free, above(strength, threshold).data);
  const level = inside.length ? median(inside) : 0;
  if (level < Math.max(LEAST_CLEARNESS * noise, LEAST_CONTRAST)) refuse("unclear");
  return above(strength, Math.fround(Math.max(3 * noise, 0.45 * level)));
}

/** Keep the parts of one character; return them, the pen's width in pixels, and the doubt. */
function character(mask) {
  const { parts, areas, boxes } = labelled(mask);
  if (areas.length === 1) refuse("unclear");
  for (const part of surroundings(parts, areas, boxes)) areas[part] = 0;
  if (!sum(areas)) refuse("unclear");
  const largest = Math.max(...areas);
  const main = areas.indexOf(largest);
  const box = boxes[main];
  const size = Math.max(box.right - box.left, box.bottom - box.top);
  const depth = distances(padded(mapped(cropped(parts, box), (part) => part === main), 1));
  const pen = 2 * median(selected(depth.data, skeleton(depth).data));
  // A dot is about as large as the pen is wide, and stands near its letter; what is smaller is
  // dirt, and so is what is small and far away.
  const everything = sum(areas);
  const least = Math.max(2, 0.4 * pen * pen, 0.002 * largest);
  areas.forEach((area, part) => {
    if (area < least) areas[part] = 0;
  });
  areas.forEach((area, part) => {
    if (!area || area >= 0.08 * largest) return;
    const other = boxes[part];
    const away = Math.max(
      other.top - box.bottom, other.left - box.right, box.top - other.bottom,
      box.left - other.right,
    );
    if (away > 0.8 * size) areas[part] = 0;
  });
  const kept = grid(parts.width, parts.height);
  for (let i = 0; i < kept.data.length; i++) kept.data[i] = areas[parts.data[i]] ? 1 : 0;
  const count = areas.filter(Boolean).length;
  if (count > MOST_PARTS) refuse("marks", `${count} `);
  if (sum(areas) < 0.6 * everything) refuse("unclear");
  const whole = boxOf(kept);
  const { width, height, data } = kept;
  let onRim = 0;
  for (let x = 0; x < width; x++) onRim += data[x] + data[(height - 1) * width + x];
  for (let y = 0; y < height; y++) onRim += data[y * width] + data[(y + 1) * width - 1];
  const extent = Math.max(whole.right - whole.left, whole.bottom - whole.top);
  const deepest = depth.data.reduce((a, b) => Math.max(a, b));
  const full = 2 * deepest > 0.85 * extent || onRim / (2 * (width + height)) > 0.45;
  if (full || isPlate(kept, whole)) refuse("filled");
  const reached = edges(kept, whole).filter(Boolean).length;
  const doubt = Math.max(
    0.9 * framed(parts, areas, boxes, pen),
    2 * (1 - sum(areas) / everything) + 0.08 * Math.max(0, count - 3),
    0.1 * (reached > 0) + 0.5 * (onRim > 3 * pen && reached < 3),
    0.3 * (2 * deepest > 2.6 * pen), // rather what is between strokes
    UNSURE * (reached > 1), // a rule, perhaps, which Python would remove
  );
  return { mask: kept, pen, doubt: Math.min(1, doubt) };
}

/** Return the doubt whether a crop is one digit: refuse several, as `parts.several` counts them. */
function several(crop) {
  const { width, height } = crop;
  const boxes = labelled(above(crop, 64)).boxes.slice(1);
  const high = (share) => boxes.filter((box) => box.bottom - box.top > share * height);
  const gaps = (sorted, after, before) =>
    sorted.slice(1).map((box, i) => box[after] - sorted[i][before]);
  const tall = high(0.45).sort((a, b) => a.left - b.left);
  const beside = Math.max(-1, ...gaps(tall, "left", "right"));
  if (beside > 0.12 * height) refuse("several", `${tall.length} `);
  const halves = high(0.3).sort((a, b) => a.top - b.top);
  const over = Math.max(-1, ...gaps(halves, "top", "bottom"));
  if (over > 0.08 * height) refuse("several", `${halves.length} `);
  return 0.6 * (beside > 0 || over >= 0 || width > 1.25 * height);
}

/** Return whether a sheet was taken for ink: four straight sides, and mostly filled. */
function isPlate(kept, box) {
  const count = sum(kept.data);
  const [wide, high] = sidesOf(box);
  if (count < 0.3 * wide * high) return false; // of thin strokes; quickly told
  const hull = hullOf(kept, box);
  const area = Math.max(1, areaOf(hull));
  while (hull.length > 4) { // without the corner that matters least
    const after = (i) => hull[(i + 1) % hull.length];
    const lost = hull.map((point, i) => areaOf([hull.at(i - 1), point, after(i)]));
    hull.splice(lost.indexOf(Math.min(...lost)), 1);
  }
  const straight = areaOf(hull) > 0.9 * area && Math.min(wide, high) > 0.4 * Math.max(wide, high);
  return straight && count > 0.62 * area;
}

/** Return the corners of a mask's convex hull: Andrew's monotone chain over each row's ends. */
function hullOf({ width, data }, { left, top, right, bottom }) {
  const points = [];
  for (let y = top; y < bottom; y++) {
    const row = data.subarray(y * width + left, y * width + right);
    if (row.includes(1)) points.push([left + row.indexOf(1), y], [left + row.lastIndexOf(1), y]);
  }
  const chain = (ordered) => {
    const kept = [];
    for (const point of ordered) {
      while (kept.length > 1 && turn(kept.at(-2), kept.at(-1), point) <= 0) kept.pop();
      kept.push(point);
    }
    return kept.slice(0, -1);
  };
  points.sort(([x, y], [otherX, otherY]) => x - otherX || y - otherY);
  return [...chain(points), ...chain(points.reverse())];
}

function turn([x, y], [x1, y1], [x2, y2]) {
  return (x1 - x) * (y2 - y) - (y1 - y) * (x2 - x);
}

function areaOf(corners) {
  const after = (i) => corners[(i + 1) % corners.length];
  return Math.abs(sum(corners.map((point, i) => turn([0, 0], point, after(i))))) / 2;
}

/** Return whether a kept part is a frame: it goes around another, or is long and very thin. */
function framed(parts, areas, boxes, pen) {
  const kept = Array.from(areas.keys()).filter((part) => areas[part]);
  const size = (part) => Math.max(...sidesOf(boxes[part]));
  const main = areas.indexOf(Math.max(...areas));
  return kept.some((outer) => {
    if (size(outer) > 0.8 * size(main) && areas[outer] < 0.45 * pen * size(outer)) return true;
    const box = boxes[outer];
    const inner = kept.filter((part) => {
      const { left, top, right, bottom } = boxes[part];
      const inside =
        left > box.left && top > box.top && right < box.right && bottom < box.bottom;
      return inside && size(part) > 0.25 * size(outer);
    });
    if (!inner.length) return false;
    const near = cropped(parts, box);
    const free = outside(mapped(near, (part) => part === outer)).data;
    return inner.some((part) => near.data.every((other, i) => other !== part || !free[i]));
  });
}

/** Return the pixels that can be reached from the edge without crossing the mask. */
function outside(mask) {
  const { width, height, data } = padded(mask, 1);
  const seen = grid(width, height);
  const left = [0];
  while (left.length) {
    const i = left.pop();
    if (i < 0 || i >= data.length || data[i] || seen.data[i]) continue;
    seen.data[i] = 1;
    left.push(i - width, i + width);
    if (i % width) left.push(i - 1);
    if ((i + 1) % width) left.push(i + 1);
  }
  return cropped(seen, { left: 1, top: 1, right: width - 1, bottom: height - 1 });
}

/** Return the parts along the edge (a table, a thumb, a neighbour) if a character stands free. */
function surroundings({ width, height, data }, areas, boxes) {
  const touching = areas.map(() => 0);
  const side = (length, at) => {
    const counts = areas.map(() => 0);
    for (let i = 0; i < length; i++) counts[data[at(i)]] += 1;
    counts.forEach((count, part) => (touching[part] = Math.max(touching[part], count / length)));
  };
  side(width, (x) => x);
  side(width, (x) => (height - 1) * width + x);
  side(height, (y) => y * width);
  side(height, (y) => (y + 1) * width - 1);
  const all = boxes.map((_, part) => part).slice(1);
  const size = (part) => Math.max(...sidesOf(boxes[part]));
  const thin = (part) => Math.min(...sidesOf(boxes[part])) < 0.04 * Math.max(width, height);
  const free = all.filter((p) => !touching[p] && size(p) > 0.15 * Math.max(width, height));
  const inside = Math.max(0, ...free.map((part) => areas[part]));
  const longest = Math.max(0, ...free.map(size));
  // else the picture was cut around the character
  const few = edges({ width, height }, boxOf({ width, height, data })).filter(Boolean).length < 3;
  return all.filter((part) => {
    if (touching[part] > 0.4 && areas[part] < 50 * inside) return true;
    return few && longest && touching[part] && (size(part) < 2 * longest || thin(part));
  });
}

// -------------------------------------------------------------------------------------- helpers

function refusal(why, count = "") {
  return new InkError(`the picture: ${count}${table.refusals[why]} ${table.refusals.expected}`);
}

function refuse(why, count) {
  throw refusal(why, count);
}

/** Return which sides of an image a box touches. */
function edges({ width, height }, { left, top, right, bottom }) {
  return [!left, !top, right === width, bottom === height];
}

function sidesOf({ left, top, right, bottom }) {
  return [right - left, bottom - top];
}

function bounded(value, most) {
  return Math.min(most, Math.max(0, value));
}

function sum(values) {
  return values.reduce((a, b) => a + b, 0);
}

function longer({ width, height }) {
  return Math.max(width, height);
}

/** Resize, proportions kept, until the longer side is `longest`. */
function resizedTo(image, longest, filter) {
  const scale = longest / longer(image);
  const side = (length) => Math.max(1, round(length * scale));
  return resized(image, side(image.width), side(image.height), filter);
}

/** Return how steeply the values rise at each pixel, from its neighbours: NumPy's gradient. */
function slopes(image) {
  const { width, height, data } = image;
  return mapped(image, (_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    const [left, right] = [Math.max(0, x - 1), Math.min(width - 1, x + 1)];
    const [above, below] = [Math.max(0, y - 1), Math.min(height - 1, y + 1)];
    return Math.hypot(
      (data[y * width + right] - data[y * width + left]) / (right - left),
      (data[below * width + x] - data[above * width + x]) / (below - above),
    );
  }, Float32Array);
}
