// SHA-256 as the protocol uses it. Law: pure. The browser's own is asynchronous and missing on plain HTTP, so it is here.
const K = new Uint32Array([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
  0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
  0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
  0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
  0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
  0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
  0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
  0xc67178f2
])
const UTF8 = new TextEncoder()

/** SHA-256 over the parts, joined. */
export function sha256 (...parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const data = new Uint8Array((length + 9 + 63) >> 6 << 6)
  let at = 0
  for (const part of parts) {
    data.set(part, at)
    at += part.length
  }
  data[length] = 0x80
  const view = new DataView(data.buffer)
  view.setUint32(data.length - 8, Math.floor(length / 0x20000000))
  view.setUint32(data.length - 4, length * 8 >>> 0)
  const state = new Uint32Array([
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
  ])
  const w = new Uint32Array(64)
  for (let block = 0; block < data.length; block += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getUint32(block + 4 * i)
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15]
      const b = w[i - 2]
      w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ a >>> 3) + (turn(b, 17) ^ turn(b, 19) ^ b >>> 10)
    }
    let [a, b, c, d, e, f, g, h] = state
    for (let i = 0; i < 64; i++) {
      const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & f ^ ~e & g) + K[i] + w[i] | 0
      const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + (a & b ^ a & c ^ b & c) | 0
      h = g; g = f; f = e; e = d + one | 0; d = c; c = b; b = a; a = one + two | 0
    }
    state[0] += a; state[1] += b; state[2] += c; state[3] += d
    state[4] += e; state[5] += f; state[6] += g; state[7] += h
  }
  const out = new DataView(new ArrayBuffer(32))
  state.forEach((word, i) => out.setUint32(4 * i, word))
  return new Uint8Array(out.buffer)
}

const turn = (x, by) => x >>> by | x << 32 - by

/** Over parts, each behind its length in 8 bytes. A text is its UTF-8. */
export function digest (...parts) {
  const raw = parts.map(part => typeof part === 'string' ? UTF8.encode(part) : part)
  return sha256(...raw.flatMap(part => [u64(part.length), part]))
}

export function u64 (value) {
  const out = new DataView(new ArrayBuffer(8))
  out.setBigUint64(0, BigInt(value))
  return new Uint8Array(out.buffer)
}

export function u32 (value) {
  const out = new DataView(new ArrayBuffer(4))
  out.setUint32(0, value)
  return new Uint8Array(out.buffer)
}

/** The Merkle root of RFC 6962. */
export function merkleRoot (leaves) {
  let level = leaves.map(leaf => sha256(Uint8Array.of(0), leaf))
  if (level.length === 0) return sha256()
  while (level.length > 1) {
    const above = []
    for (let at = 0; at < level.length; at += 2) {
      above.push(at + 1 < level.length ? sha256(Uint8Array.of(1), level[at], level[at + 1]) : level[at])
    }
    level = above
  }
  return level[0]
}

export const utf8 = text => UTF8.encode(text)
export const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at])
export const toHex = raw => Array.from(raw, byte => byte.toString(16).padStart(2, '0')).join('')
export const fromHex = text => Uint8Array.from(text.match(/../g) ?? [], pair => parseInt(pair, 16))
export function compare (a, b) {
  for (let at = 0; at < Math.min(a.length, b.length); at++) if (a[at] !== b[at]) return a[at] - b[at]
  return a.length - b.length
}
