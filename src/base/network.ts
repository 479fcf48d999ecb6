/**
 * The transport seam. It is framed: what is sent is one Kafka frame without its 4-byte size, what arrives is one whole
 * frame as one contiguous Buffer. TCP (net/tcp.ts) adds the size; in process (net/in-process.ts) frames are copied and
 * delivered through the scheduler, never re-entrantly. Client and broker stand on it and never meet.
 */

/** One end of an established connection. */
export interface Connection {
  /** Where the other end is, for messages: `127.0.0.1:9092`. */
  readonly remote: string
  /** Bytes handed to `send` that have not reached the operating system yet. */
  readonly pendingBytes: number
  /**
   * Sends one frame made of `buffers` one after another. The caller may reuse the buffers only after the peer's answer
   * (TCP writes are not copied). Ignored after close.
   */
  send(buffers: readonly Buffer[]): void
  /** Stops (false) or resumes (true) the delivery of frames, so that a slow reader pushes back on its peer. */
  setReading(reading: boolean): void
  /** Closes at once. The handler's `onClose` is called with `reason`, later, exactly once. */
  close(reason?: Error): void
}

/** What the owner of a connection wants to know. */
export interface ConnectionHandler {
  /** A whole frame. The Buffer is the receiver's own: it is not touched again by the transport. */
  onFrame(frame: Buffer): void
  /** Exactly once, whoever closed. `reason` is undefined after an orderly end of the peer. */
  onClose(reason: Error | undefined): void
  /** `pendingBytes` has fallen to zero after it was above the transport's high-water mark. */
  onDrain?(): void
}

export interface DialOptions {
  /** Milliseconds for name look-up and connect together. */
  readonly connectTimeoutMs: number
  /** Largest frame accepted, bytes. */
  readonly maxFrameBytes: number
  /** Gives up connecting: the promise rejects with the signal's reason, and nothing is left open. */
  readonly signal?: AbortSignal
}

export interface ListenOptions {
  readonly host: string
  /** 0: the operating system picks a free one. */
  readonly port: number
  readonly maxFrameBytes: number
  /** Bytes that all connections of the listener together may hold in partial frames. */
  readonly maxPartialBytes: number
}

/** A bound server address. */
export interface Listener {
  readonly host: string
  readonly port: number
  /** Stops accepting; open connections stay. */
  close(): Promise<void>
}

/** Dials and listens. */
export interface Network {
  /** Rejects with a NetworkError (net/errors.ts). The handler may be called only after the promise resolved. */
  dial(host: string, port: number, handler: ConnectionHandler, options: DialOptions): Promise<Connection>
  /** `accept` is called per new connection and returns its handler. Rejects when the port is taken. */
  listen(options: ListenOptions, accept: (connection: Connection) => ConnectionHandler): Promise<Listener>
}
