// Reads canonical CBOR (RFC 8949): whole numbers, bytes, text, arrays, maps with text keys, null, true, false.
// Law: whatever comes, it ends with a value or an Error; nesting is bounded.
const MAX_DEPTH = 16
const UTF8 = new TextDecoder('utf-8', { fatal: true })

/** The value that `bytes` encode, and nothing after it. */
export function decode (bytes) {
  const [value, end] = item(bytes, 0, 0)
  if (end !== bytes.length) throw new Error('there is more after the value')
  return value
}

/** Of the array at `at`: where each element begins and ends, as [start, end]. */
export function elements (bytes, at = 0) {
  const [major, count, start] = head(bytes, at)
  if (major !== 4) throw new Error('an array is expected')
  const found = []
  let here = start
  for (let i = 0; i < count; i++) {
    const [, end] = item(bytes, here, 1)
    found.push([here, end])
    here = end
  }
  return found
}

function head (bytes, at) {
  if (at >= bytes.length) throw new Error('the data end too early')
  const major = bytes[at] >> 5
  const low = bytes[at] & 31
  if (low < 24) return [major, low, at + 1]
  if (low > 27) throw new Error('this kind of CBOR is not used here')
  const size = 1 << (low - 24)
  if (at + 1 + size > bytes.length) throw new Error('the data end too early')
  let value = 0n
  for (let i = 1; i <= size; i++) value = value << 8n | BigInt(bytes[at + i])
  return [major, value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value, at + 1 + size]
}

function item (bytes, at, depth) {
  if (depth > MAX_DEPTH) throw new Error('nested too deeply')
  const [major, value, start] = head(bytes, at)
  switch (major) {
    case 0: return [value, start]
    case 1: return [typeof value === 'bigint' ? -1n - value : -1 - value, start]
    case 2: case 3: {
      const end = start + Number(value)
      if (end > bytes.length) throw new Error('the data end too early')
      const raw = bytes.subarray(start, end)
      return [major === 2 ? raw : UTF8.decode(raw), end]
    }
    case 4: {
      const found = []
      let here = start
      for (let i = 0; i < value; i++) {
        const [one, end] = item(bytes, here, depth + 1)
        found.push(one)
        here = end
      }
      return [found, here]
    }
    case 5: {
      const found = new Map()
      let here = start
      for (let i = 0; i < value; i++) {
        const [key, middle] = item(bytes, here, depth + 1)
        const [one, end] = item(bytes, middle, depth + 1)
        found.set(key, one)
        here = end
      }
      return [found, here]
    }
  }
  const simple = { 20: false, 21: true, 22: null }[value]
  if (major !== 7 || simple === undefined) throw new Error('this kind of CBOR is not used here')
  return [simple, start]
}
