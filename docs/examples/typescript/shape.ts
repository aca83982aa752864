// The shapes of messages: what each field is, and how long it may be.
// Law: a value that does not fit is an error that names its field. A message is an array: a field is known by its
// place.
import { decode, encode } from './codec.ts'
import { broken } from './errors.ts'
import { toHex } from './hash.ts'

export interface Shape<T> {
  read: (plain: unknown, path: string) => T // throws ProtocolError
  write: (value: T) => unknown // the inverse: plain data
}
export type Value<S> = S extends Shape<infer T> ? T : never
type Fields = Record<string, Shape<any>>
type Values<F extends Fields> = { [K in keyof F]: Value<F[K]> }

function simple<T> (
  fits: (plain: any) => boolean, what: string, convert: (plain: any) => T = plain => plain
): Shape<T> {
  return {
    read (plain, path) {
      if (!fits(plain)) throw broken(path, `${what} is expected`)
      return convert(plain)
    },
    write: value => value
  }
}

const isNumber = (plain: any): boolean => typeof plain === 'number' || typeof plain === 'bigint'

export const bytes = (least: number, most: number): Shape<Uint8Array> =>
  simple(plain => plain instanceof Uint8Array && plain.length >= least && plain.length <= most,
    least === most ? `${least} bytes` : `at most ${most} bytes`)
export const text = (most: number): Shape<string> =>
  simple(plain => typeof plain === 'string' && (plain.length <= most || [...plain].length <= most),
    `text of at most ${most} characters`)
export const whole = (least: number, most: number): Shape<number> =>
  simple(plain => Number.isSafeInteger(plain) && plain >= least && plain <= most,
    `a whole number from ${least} to ${most}`)

export const bytes32 = bytes(32, 32)
export const bytes64 = bytes(64, 64)
export const u32 = whole(0, 2 ** 32 - 1)
export const count = whole(0, Number.MAX_SAFE_INTEGER) // a height, a time in milliseconds
export const u64: Shape<bigint> = // 63 bits, so that every language has a signed type for it
  simple(plain => isNumber(plain) && plain >= 0 && plain < 2n ** 63n, 'a whole number of 63 bits', BigInt)
export const flag: Shape<boolean> = simple(plain => typeof plain === 'boolean', 'true or false')
export const anything: Shape<unknown> = simple(() => true, 'anything')
/** Fields at the end of a message, of which only their number is checked. */
export const unread = (fields: number): Record<`_${number}`, Shape<unknown>> =>
  Object.fromEntries(Array.from({ length: fields }, (_, at) => [`_${at}`, anything]))
/** Bytes as hexadecimal digits, as in the answers to queries. */
export const hex: Shape<Uint8Array> = {
  read (plain, path) {
    if (typeof plain === 'string' && /^([0-9a-f]{2})*$/.test(plain)) return Buffer.from(plain, 'hex')
    throw broken(path, 'hexadecimal digits are expected')
  },
  write: toHex
}

export function nullable<T> (of: Shape<T>): Shape<T | null> {
  return {
    read: (plain, path) => plain === null ? null : of.read(plain, path),
    write: value => value === null ? null : of.write(value)
  }
}

export function list<T> (of: Shape<T>, most: number, least = 0): Shape<T[]> {
  return {
    read (plain, path) {
      if (!Array.isArray(plain) || plain.length < least || plain.length > most) {
        throw broken(path, `a list of ${least} to ${most} is expected`)
      }
      return plain.map((one, at) => of.read(one, `${path}[${at}]`))
    },
    write: values => values.map(of.write)
  }
}

export function pair<A, B> (first: Shape<A>, second: Shape<B>): Shape<[A, B]> {
  return {
    read (plain, path) {
      if (!Array.isArray(plain) || plain.length !== 2) throw broken(path, 'a pair is expected')
      return [first.read(plain[0], path), second.read(plain[1], path)]
    },
    write: ([one, other]) => [first.write(one), second.write(other)]
  }
}

/** A message: an array with a place for each field, in this order. */
export function message<F extends Fields> (fields: F): Shape<Values<F>> {
  const named = Object.entries(fields)
  return {
    read (plain, path) {
      if (!Array.isArray(plain) || plain.length !== named.length) {
        throw broken(path, `an array of ${named.length} fields is expected`)
      }
      return Object.fromEntries(
        named.map(([name, one], at) => [name, one.read(plain[at], `${path}.${name}`)])) as Values<F>
    },
    write: value => named.map(([name, one]) => one.write(value[name]))
  }
}

/** A message of one of several kinds: its kind's tag comes before its fields. */
export function tagged<F extends Fields> (tag: string, fields: F): Shape<Values<F>> {
  const inner = message(fields)
  return {
    read (plain, path) {
      if (!Array.isArray(plain) || plain[0] !== tag) throw broken(path, `a ${tag} is expected`)
      return inner.read(plain.slice(1), path)
    },
    write: value => [tag, ...inner.write(value) as unknown[]]
  }
}

/** A map with text keys, as queries are answered. Keys that are not known are ignored, so a newer peer may say more. */
export function table<F extends Fields> (fields: F): Shape<Values<F>> {
  return {
    read (plain, path) {
      if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) throw broken(path, 'a map is expected')
      const found = plain as Record<string, unknown>
      return Object.fromEntries(
        Object.entries(fields).map(([name, one]) => [name, one.read(found[name], `${path}.${name}`)])) as Values<F>
    },
    write: value => Object.fromEntries(Object.entries(fields).map(([name, one]) => [name, one.write(value[name])]))
  }
}

export const pack = <T> (shape: Shape<T>, value: T): Uint8Array => encode(shape.write(value))
export const unpack = <T> (shape: Shape<T>, data: Uint8Array, name: string): T => shape.read(decode(data), name)
