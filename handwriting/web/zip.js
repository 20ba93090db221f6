// A zip file of drawings, in the folders that `handwriting.mine` reads. Pictures are not compressed
// once more.

/** Return where a drawing lies in the course's data folder: the number counts from 1. */
export function place(form, label, number) {
  const points = Array.from(label, (one) => one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0"));
  const folder = /^[a-z0-9]{1,20}$/.test(label) ? label : `U+${points.join("-")}`;
  return `mine/${form}/${folder}/hand-${String(number).padStart(4, "0")}.png`;
}

/** Return the bytes of a zip file: `files` are [name, Uint8Array], names in ASCII. */
export function zipped(files) {
  const parts = [];
  const listed = [];
  let offset = 0;
  for (const [name, content] of files) {
    const about = new DataView(new ArrayBuffer(26)); // what both headers tell
    about.setUint16(0, 10, true); // the version that can unpack it
    about.setUint16(8, 0x21, true); // the day, 1 January 1980: there is no clock in it
    about.setUint32(10, checksum(content), true);
    about.setUint32(14, content.length, true);
    about.setUint32(18, content.length, true);
    about.setUint16(22, name.length, true);
    const [shared, letters] = [new Uint8Array(about.buffer), new TextEncoder().encode(name)];
    parts.push(word(0x04034b50), shared, letters, content);
    const rest = new DataView(new ArrayBuffer(14));
    rest.setUint32(10, offset, true);
    listed.push(word(0x02014b50), new Uint8Array([10, 0]), shared, new Uint8Array(rest.buffer), letters);
    offset += 30 + letters.length + content.length;
  }
  const size = listed.reduce((sum, part) => sum + part.length, 0);
  const end = new DataView(new ArrayBuffer(18));
  end.setUint16(4, files.length, true);
  end.setUint16(6, files.length, true);
  end.setUint32(8, size, true);
  end.setUint32(12, offset, true);
  const all = [...parts, ...listed, word(0x06054b50), new Uint8Array(end.buffer)];
  const result = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of all) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

function word(value) {
  const bytes = new DataView(new ArrayBuffer(4));
  bytes.setUint32(0, value, true);
  return new Uint8Array(bytes.buffer);
}

/** Return the CRC-32 of bytes. */
function checksum(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
