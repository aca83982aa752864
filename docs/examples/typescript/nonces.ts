// Which nonces this folder's account has used, in the file of `folkmoot ask`: DIR/nonces/ACCOUNT.
// Law: a nonce is given out once, whatever a peer says. Node.js cannot lock the file, so one process at a time.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ProtocolError } from './errors.ts'
import { toHex } from './hash.ts'

export class Nonces {
  readonly #folder: string

  constructor (folder: string) {
    this.#folder = folder
  }

  /** The highest that was taken here, 0 where none is known. */
  last (account: Uint8Array): bigint {
    try {
      const found = readFileSync(this.#file(account), 'ascii').trim()
      return /^\d{1,20}$/.test(found) ? BigInt(found) : 0n
    } catch {
      return 0n
    }
  }

  /** A nonce that was not taken before: `lowest` or higher. */
  take (account: Uint8Array, lowest: bigint): bigint {
    const next = this.last(account) + 1n
    const nonce = lowest > next ? lowest : next
    this.keep(account, nonce)
    return nonce
  }

  /** Continue behind `nonce`. */
  keep (account: Uint8Array, nonce: bigint): void {
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
      writeFileSync(this.#file(account), `${String(nonce).padStart(20, '0')}\n`, { mode: 0o600 })
    } catch (error) {
      throw new ProtocolError('storage', 'dir', `cannot write ${this.#file(account)}: ${String(error)}`)
    }
  }

  #file (account: Uint8Array): string {
    return join(this.#folder, toHex(account))
  }
}
