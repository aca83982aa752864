// The errors of the protocol. Law: each says what was wrong, names the field, and has a kind that decides the command's
// exit status. The kinds and statuses are those of docs/use-from-code.md.

export const EXIT_STATUS = {
  invalid_request: 2, config: 2, remote_protocol: 3, overloaded: 4, unavailable: 5, storage: 6
} as const
export type Kind = keyof typeof EXIT_STATUS

export class ProtocolError extends Error {
  readonly kind: Kind
  readonly field: string
  readonly code: string // finer than the kind: 'not_found', 'wrong_network', ...
  readonly retryAfter: number // heights, where the kind is 'overloaded'; 0: not known

  constructor (kind: Kind, field: string, message: string, code: string = kind, retryAfter = 0) {
    super(message)
    this.kind = kind
    this.field = field
    this.code = code
    this.retryAfter = retryAfter
  }
}

/** The peer broke the protocol, or a proof does not hold. */
export function broken (field: string, message: string): ProtocolError {
  return new ProtocolError('remote_protocol', field, message)
}

/** The error in a Failure frame. Where its code is no kind, one that names a field is about the request. */
export function reported (code: string, field: string, message: string, retryAfter: number): ProtocolError {
  const kind = code in EXIT_STATUS ? code as Kind : field === '' ? 'unavailable' : 'invalid_request'
  return new ProtocolError(kind, field, message, code, retryAfter)
}
