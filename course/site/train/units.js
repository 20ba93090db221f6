// Pictures of what units look for: their weights, orange where ink speaks for them, purple against.

const FOR = [200, 84, 0];
const AGAINST = [84, 39, 136];

/**
 * Build pictures in `root`.
 *
 * @param {HTMLElement} root
 * @param {{count, side}} options how many pictures, and their side in weights.
 * @param {string[]} captions of each, or nothing.
 * @returns {function(Float32Array, Float32Array?)} draws weights; units whose largest answer,
 *   the second array, is not above zero are crossed out.
 */
export function createUnits(root, { count, side }, captions = []) {
  const tiles = Array.from({ length: count }, (_, i) => {
    const tile = document.createElement("span");
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    tile.append(canvas);
    if (captions[i]) tile.append(captions[i]);
    return tile;
  });
  root.replaceChildren(...tiles);
  return (weights, most) => {
    const largest = weights.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
    tiles.forEach((tile, i) => {
      paint(tile.firstChild, weights.subarray(i * side ** 2, (i + 1) * side ** 2), largest);
      tile.classList.toggle("dead", Boolean(most) && !(most[i] > 0));
    });
  };
}

function paint(canvas, weights, largest) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  weights.forEach((weight, i) => {
    const share = Math.min(1, Math.abs(weight) / largest);
    const colour = weight > 0 ? FOR : AGAINST;
    picture.data.set([...colour.map((part) => 255 + share * (part - 255)), 255], 4 * i);
  });
  context.putImageData(picture, 0, 0);
}
