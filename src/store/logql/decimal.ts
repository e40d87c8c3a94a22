/** Decimal arithmetic without the binary noise of the last digits, as sprig's addf, subf, mulf and divf have it. */

/** `digits` · 10^`exponent` */
interface Decimal {
  readonly digits: bigint;
  readonly exponent: number;
}

/** Digits after the point of a quotient. */
const QUOTIENT_PLACES = 16;

/** The shortest decimal that reads back as this number, which must be finite. */
function decimalOf(value: number): Decimal {
  const [mantissa, exponent] = value.toExponential().split('e');
  const [whole, fraction = ''] = mantissa.split('.');
  return { digits: BigInt(whole + fraction), exponent: Number(exponent) - fraction.length };
}

function numberOf({ digits, exponent }: Decimal): number {
  return Number(`${digits}e${exponent}`);
}

function digitsAt({ digits, exponent }: Decimal, target: number): bigint {
  return digits * 10n ** BigInt(exponent - target);
}

/** Apart by more than this, the smaller one does not show in a number. */
const EXPONENTS_APART_MAX = 400;

export function addDecimal(a: number, b: number): number {
  const [left, right] = [decimalOf(a), decimalOf(b)];
  if (Math.abs(left.exponent - right.exponent) > EXPONENTS_APART_MAX) return a + b;
  const exponent = Math.min(left.exponent, right.exponent);
  return numberOf({ digits: digitsAt(left, exponent) + digitsAt(right, exponent), exponent });
}

export function multiplyDecimal(a: number, b: number): number {
  const [left, right] = [decimalOf(a), decimalOf(b)];
  return numberOf({ digits: left.digits * right.digits, exponent: left.exponent + right.exponent });
}

/** Rounded half away from zero at the last place; `b` is not zero. */
export function divideDecimal(a: number, b: number): number {
  const [left, right] = [decimalOf(a), decimalOf(b)];
  const shift = left.exponent - right.exponent + QUOTIENT_PLACES;
  const above = shift > 0 ? left.digits * 10n ** BigInt(shift) : left.digits;
  const below = shift < 0 ? right.digits * 10n ** BigInt(-shift) : right.digits;
  const rest = above % below;
  const isUp = magnitude(rest) * 2n >= magnitude(below);
  const sign = above < 0n === below < 0n ? 1n : -1n;
  return numberOf({ digits: above / below + (isUp ? sign : 0n), exponent: -QUOTIENT_PLACES });
}

function magnitude(value: bigint): bigint {
  return value < 0n ? -value : value;
}
