// What stands beside a character and is no part of it: print, a stamp, brackets, a scribble:
// `handwriting.beside`. All take parts, areas and boxes as `labelled` gives them; a part whose area
// is 0 is left out already.

import { cropped, distances, labelled, longer, mapped, most, padded, sidesOf, sum } from "./images.js";

/** Return {others, doubt}: all that is to be left out, and the doubt about it, from 0 to 1. */
export function beside(parts, areas, boxes) {
  const left = [...areas];
  let doubt = 0;
  for (const [find, guess] of [[scribbles, 0.35], [brackets, 0.2], [print, 0.35], [far, 0.2]]) {
    const found = find(parts, left, boxes);
    for (const part of found) left[part] = 0;
    if (found.length) doubt = Math.max(doubt, guess);
  }
  return { others: [...left.keys()].filter((part) => !left[part]), doubt };
}

/** Return how far apart two boxes are, in pixels; or only how far beside each other. */
export function between(one, other, sideways = false) {
  const across = Math.max(other.left - one.right, one.left - other.right);
  return sideways ? across : Math.max(across, other.top - one.bottom, one.top - other.bottom);
}

/** Return the parts with at least so large an area. */
function partsOf(areas, least = 1) {
  return [...areas.keys()].slice(1).filter((part) => areas[part] >= least);
}

/** Return what was crossed out, dense and full of holes or thick, beside open strokes. */
function scribbles(parts, areas, boxes) {
  const kept = partsOf(areas);
  const size = (part) => Math.max(...sidesOf(boxes[part]));
  const dense = (part) => areas[part] / sidesOf(boxes[part]).reduce((wide, tall) => wide * tall);
  const longest = most(kept.map(size));
  const large = kept.filter((part) => size(part) > 0.5 * longest);
  const full = large.filter((part) =>
    dense(part) > 0.45 && Math.min(...sidesOf(boxes[part])) > 0.45 * size(part));
  const plain = large.filter((part) =>
    !full.includes(part) && sidesOf(boxes[part])[1] > 0.5 * longest); // no underline
  if (!plain.length || !full.length) return [];
  if (most(plain.map(dense)) > 0.7 * Math.min(...full.map(dense))) return [];
  const around = (part) => padded(mapped(cropped(parts, boxes[part]), (one) => one === part), 1);
  const depth = (part) => most(distances(around(part)).data);
  const holes = (part) =>
    labelled(mapped(around(part), (inside) => !inside), false).areas.length - 2;
  const pen = most(plain.map(depth));
  return full.filter((part) => holes(part) > 3 || depth(part) > 1.8 * pen);
}

/** Return the two thin strokes, open to each other, between which all the rest stands. */
function brackets(parts, areas, boxes) {
  const kept = partsOf(areas, 0.08 * most(areas));
  const end = (key, pick) => kept.find((part) => boxes[part][key] === pick(...kept.map((one) => boxes[one][key])));
  const [first, last] = [end("left", Math.min), end("right", Math.max)];
  const inner = kept.filter((part) => part !== first && part !== last).map((part) => boxes[part]);
  if (!inner.length || first === last) return [];
  const all = (key, pick) => pick(...inner.map((box) => box[key]));
  const middle = (part) => (boxes[part].left + boxes[part].right) / 2;
  if (middle(first) >= all("left", Math.min) || all("right", Math.max) >= middle(last)) return [];
  const tall = [first, last].map((part) => sidesOf(boxes[part])[1]);
  const least = Math.max(0.7 * Math.max(...tall), all("bottom", Math.max) - all("top", Math.min));
  if (Math.min(...tall) < least) return [];
  const mask = (part) => mapped(cropped(parts, boxes[part]), (one) => one === part);
  return isBracket(mask(first)) && isBracket(mask(last), true) ? [first, last] : [];
}

/** Return whether a mask is a thin stroke, open to the right; or, `turned`, to the left. */
function isBracket({ width, height, data }, turned = false) {
  if (height < 10) return false;
  const middles = [];
  let crossed = 0; // rows with more than one piece of it
  for (let y = 0; y < height; y++) {
    let [total, count, pieces] = [0, 0, 0];
    for (let x = 0; x < width; x++) {
      if (!data[y * width + x]) continue;
      total += turned ? width - 1 - x : x;
      count += 1;
      pieces += x === 0 || !data[y * width + x - 1] ? 1 : 0;
    }
    middles.push(total / Math.max(1, count));
    crossed += pieces > 1 ? 1 : 0;
  }
  const fifth = Math.max(1, Math.floor(height / 5));
  const mean = (from, to) => sum(middles.slice(from, to)) / (to - from);
  const ends = Math.min(mean(0, fifth), mean(height - fifth, height));
  const open = ends - mean(2 * fifth, height - 2 * fifth) > 0.05 * height;
  const thin = width < 0.6 * height && sum(data) < 0.2 * height * height;
  return open && thin && crossed / height < 0.1;
}

/** Return the lines of print, six at least, around a part that is much larger. */
function print(parts, areas, boxes) {
  const kept = partsOf(areas);
  const largest = most(areas);
  const main = areas.indexOf(largest);
  const [wide, tall] = sidesOf(boxes[main]);
  const longest = Math.max(wide, tall);
  const lines = kept.filter((part) => {
    const away = between(boxes[main], boxes[part]) > 0.3 * longest;
    return away && sidesOf(boxes[part])[1] < 0.35 * longest && areas[part] < 0.4 * largest;
  });
  const flat = lines.filter((part) => {
    const [across, down] = sidesOf(boxes[part]);
    return across > 1.5 * down;
  }).length;
  const plain = tall > 0.5 * wide && longest > 0.1 * longer(parts);
  return plain && flat > Math.max(5, 0.5 * lines.length) ? lines : [];
}

/** Return what is far from the longest part, and no character beside it: print, a stamp. */
function far(parts, areas, boxes) {
  const kept = partsOf(areas);
  const size = (part) => Math.max(...sidesOf(boxes[part]));
  const longest = most(kept.map(size));
  const main = kept.find((part) => size(part) === longest);
  const marks = kept.filter((part) => areas[part] >= 0.08 * areas[main]); // no specks
  const apart = marks.filter((part) => {
    const [wide, tall] = sidesOf(boxes[part]);
    const filled = areas[part] > 0.5 * tall * wide && wide > 0.5 * tall;
    const smaller = size(part) < (filled ? 0.8 : 0.5) * longest;
    const away = between(boxes[main], boxes[part]) > 0.8 * longest;
    return away && smaller;
  });
  const words = apart.length > 2 && sum(apart.map((part) => areas[part])) > areas[main]; // or dust
  const middle = (part, [from, to]) => boxes[part][from] + boxes[part][to];
  const rows = marks
    .sort((one, other) => middle(one, ["left", "right"]) - middle(other, ["left", "right"]))
    .map((part) => middle(part, ["top", "bottom"])); // from left to right
  const three = rows.length === 3 && rows[1] < Math.min(rows[0], rows[2]); // ஃ is one letter
  return words || three ? [] : apart;
}
