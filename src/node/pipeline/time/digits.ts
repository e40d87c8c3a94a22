/** What `twoDigits` gives for anything but two digits: above every range that a caller checks for. */
export const NOT_DIGITS = 255;

const VALUES = new Uint8Array(65_536).fill(NOT_DIGITS);
for (let tens = 0; tens < 10; tens++) {
  for (let ones = 0; ones < 10; ones++) VALUES[(48 + tens) | ((48 + ones) << 8)] = tens * 10 + ones;
}

/** The number that two ASCII digits at `at` spell, 0…99, or NOT_DIGITS: one table look-up parses and validates. */
export function twoDigits(bytes: Uint8Array, at: number): number {
  return VALUES[bytes[at] | (bytes[at + 1] << 8)];
}

export function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57;
}

/** ASCII letter, digit or underscore. */
export function isWordByte(byte: number): boolean {
  return isDigit(byte) || byte === 95 || ((byte | 32) >= 97 && (byte | 32) <= 122);
}
