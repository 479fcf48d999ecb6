/**
 * What can go wrong between two sockets, in words that say what to look at. All of it is retriable: networks heal.
 * The guesses about foreign protocols live here, because the size field is where they first show.
 */
import { describeError, MillraceError } from '../base/errors.ts'

/** The closed list of NetworkError codes. */
export type NetworkErrorCode =
  /** Nobody listens at the address. */
  | 'ERR_CONNECTION_REFUSED'
  /** Name look-up and connect together took longer than `connectTimeoutMs`. */
  | 'ERR_CONNECT_TIMEOUT'
  /** The host name has no address. */
  | 'ERR_HOST_NOT_FOUND'
  /** Any other failure to connect; `cause` is the system's error. */
  | 'ERR_CONNECT_FAILED'
  /** An established connection ended: closed by the peer, reset, or cut. */
  | 'ERR_CONNECTION_LOST'
  /** The address is taken or may not be used. */
  | 'ERR_LISTEN_FAILED'

/** A failure to reach or keep a peer. Codes: NetworkErrorCode. Retriable, but ERR_LISTEN_FAILED is not. */
export class NetworkError extends MillraceError {
  override readonly name = 'NetworkError'
  /** The peer, `host:port`. */
  readonly address: string
  constructor(code: NetworkErrorCode, address: string, message: string, cause?: unknown) {
    super(code, message, { retriable: code !== 'ERR_LISTEN_FAILED', cause })
    this.address = address
  }
}

/**
 * The peer sent something that is no acceptable Kafka frame; the connection is closed. Code `ERR_FRAME`. Retriable,
 * because another try may meet a healthy peer, but usually an address or a limit is wrong: the message says which.
 */
export class FrameError extends MillraceError {
  override readonly name = 'FrameError'
  constructor(message: string) {
    super('ERR_FRAME', message, { retriable: true })
  }
}

/** Why `size`, read where a frame's length belongs, cannot be one. */
export function badFrameSize(size: number, maxFrameBytes: number, remote: string): FrameError {
  return new FrameError(`${remote} sent ${describeSize(size, maxFrameBytes)}`)
}

function describeSize(size: number, maxFrameBytes: number): string {
  const kind = (size >>> 24) & 0xff
  const major = (size >>> 16) & 0xff
  if (kind >= 0x14 && kind <= 0x17 && major === 3) {
    return 'a TLS record where a Kafka frame was expected: one side speaks TLS and the other plaintext; use the matching listener and port'
  }
  const text = Buffer.alloc(4)
  text.writeUInt32BE(size >>> 0)
  if (/^(HTTP|GET |POST|HEAD|PUT |OPTI)$/.test(text.toString('latin1'))) {
    return 'HTTP where a Kafka frame was expected: the address belongs to a web server or a web client'
  }
  if (/^SSH-$/.test(text.toString('latin1'))) return 'an SSH greeting where a Kafka frame was expected: check the port'
  if (size < 0) return `a negative frame size (${size}): it is not a Kafka peer, or a frame boundary was lost`
  return `a frame of ${size} bytes, above maxFrameBytes ${maxFrameBytes}: raise the limit if such frames are wanted; otherwise it is not a Kafka peer`
}

/** The typed error for a failed `connect`; `cause` is what the system said. */
export function connectError(host: string, port: number, cause: unknown): NetworkError {
  const address = formatAddress(host, port)
  const system = systemCode(cause)
  if (system === 'ECONNREFUSED') {
    return new NetworkError(
      'ERR_CONNECTION_REFUSED',
      address,
      `nothing listens on ${address} (ECONNREFUSED): is the broker running, and is this its listener's host and port?`,
      cause,
    )
  }
  if (system === 'ENOTFOUND' || system === 'EAI_AGAIN') {
    return new NetworkError(
      'ERR_HOST_NOT_FOUND',
      address,
      `the host name of ${address} has no address (${system}): check the spelling, and that the broker's advertised.listeners name is known here`,
      cause,
    )
  }
  return new NetworkError('ERR_CONNECT_FAILED', address, `cannot connect to ${address}: ${describeError(cause)}`, cause)
}

/** The typed error for a connect that took too long. */
export function connectTimeout(host: string, port: number, timeoutMs: number): NetworkError {
  const address = formatAddress(host, port)
  return new NetworkError(
    'ERR_CONNECT_TIMEOUT',
    address,
    `no connection to ${address} within connectTimeoutMs ${timeoutMs}: a firewall may drop the packets, or the host is down`,
  )
}

/** The typed error for an established connection that ended although someone still wanted it. */
export function connectionLost(address: string, cause?: unknown): NetworkError {
  const why = cause === undefined ? 'closed by the peer' : describeError(cause)
  return new NetworkError('ERR_CONNECTION_LOST', address, `connection to ${address} lost: ${why}`, cause)
}

/** `host:port`, with brackets around an IPv6 host. */
export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** The system's code; an AggregateError (several addresses tried) gives the code all of them share, or the first. */
function systemCode(cause: unknown): string | undefined {
  if (cause instanceof AggregateError) return systemCode(cause.errors[0])
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code
  return undefined
}
