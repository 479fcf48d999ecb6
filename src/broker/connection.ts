/**
 * ClientConnection: one client's connection to one node of the broker.
 * Owns   the requests that have arrived and not been served. One is served at a time and answered before the next, as in
 *        Kafka, so answers keep the order of their requests. Reading stops while much is waiting, or while the peer does
 *        not take its answers.
 */
import { MillraceError } from '../base/errors.ts'
import type { Connection, ConnectionHandler } from '../base/network.ts'
import { decodeRequestHeader, type RequestHeader } from '../protocol/frame.ts'
import type { Dispatcher, Outcome, RequestContext, Services } from './dispatch.ts'
import type { RequestMemory } from './request-memory.ts'

/** Reading goes on until so much has arrived and waits to be served. */
const queuedBytesHigh = 1024 * 1024
const queuedFramesHigh = 256

export interface ConnectionHome {
  readonly services: Services
  readonly dispatcher: Dispatcher
  readonly memory: RequestMemory
  readonly maxUnsentBytes: number
  /** Called once, when the connection is over. */
  ended(connection: ClientConnection, reason: Error | undefined): void
}

export class ClientConnection implements ConnectionHandler {
  readonly node: number
  readonly remote: string
  /** The client id of its last request. */
  clientId = ''
  readonly #home: ConnectionHome
  readonly #connection: Connection
  #queue: Buffer[] = []
  #queuedBytes = 0
  #reading = true
  /** A request is being served, or waits for memory. */
  #busy = false
  #running = false
  #closed = false
  /** The fault port told it to say nothing more. */
  #silent = false
  #giveUp: (() => void) | undefined

  constructor(home: ConnectionHome, connection: Connection, node: number) {
    this.#home = home
    this.#connection = connection
    this.node = node
    this.remote = connection.remote
  }

  onFrame(frame: Buffer): void {
    if (this.#closed || this.#silent) return
    this.#queue.push(frame)
    this.#queuedBytes += frame.length
    this.#serveNext()
    this.#throttle()
  }

  onDrain(): void {
    this.#serveNext()
    this.#throttle()
  }

  onClose(reason: Error | undefined): void {
    this.#end()
    this.#home.ended(this, reason)
  }

  /** Cuts the connection. */
  close(reason?: Error): void {
    if (this.#closed) return
    this.#end()
    this.#connection.close(reason)
  }

  #end(): void {
    this.#closed = true
    this.#queue = []
    this.#queuedBytes = 0
    const giveUp = this.#giveUp
    this.#giveUp = undefined
    giveUp?.()
  }

  /** Reads on only while there is room for what comes. */
  #throttle(): void {
    const room = this.#queuedBytes < queuedBytesHigh && this.#queue.length < queuedFramesHigh
    if (this.#closed || room === this.#reading) return
    this.#reading = room
    this.#connection.setReading(room)
  }

  /** Serves what has arrived, until one request must wait. */
  #serveNext(): void {
    if (this.#running) return
    this.#running = true
    while (
      !this.#busy &&
      !this.#closed &&
      !this.#silent &&
      this.#connection.pendingBytes <= this.#home.maxUnsentBytes
    ) {
      const frame = this.#queue.shift()
      if (frame === undefined) break
      this.#queuedBytes -= frame.length
      this.#accept(frame)
    }
    this.#running = false
  }

  #accept(frame: Buffer): void {
    let header: RequestHeader
    try {
      header = decodeRequestHeader(frame)
    } catch (cause) {
      this.#refuse(cause instanceof MillraceError ? cause : new MillraceError('ERR_BAD_REQUEST', String(cause)))
      return
    }
    const { dispatcher, memory } = this.#home
    const bytes = dispatcher.memory(header, frame.length)
    if (memory.exceeds(bytes)) {
      const what = `a request of ${frame.length} bytes may need ${bytes} bytes of memory: more than maxRequestMemoryBytes`
      this.#refuse(new MillraceError('ERR_REQUEST_TOO_LARGE', what))
      return
    }
    this.#busy = true
    const granted = (): void => {
      if (this.#closed) {
        memory.give(bytes)
        return
      }
      this.#serve(frame, header, bytes)
      this.#serveNext()
      this.#throttle()
    }
    if (memory.take(bytes, granted)) this.#serve(frame, header, bytes)
  }

  #serve(frame: Buffer, header: RequestHeader, bytes: number): void {
    this.clientId = header.clientId ?? ''
    const context: RequestContext = {
      services: this.#home.services,
      node: this.node,
      apiVersion: header.apiVersion,
      clientId: this.clientId,
      clientHost: this.remote,
      onGone: (giveUp) => {
        this.#giveUp = giveUp
      },
    }
    const outcome = this.#home.dispatcher.serve(frame, header, context)
    if (!(outcome instanceof Promise)) {
      this.#finish(outcome, bytes)
      return
    }
    const done = (settled: Outcome): void => {
      this.#finish(settled, bytes)
      this.#serveNext()
      this.#throttle()
    }
    outcome.then(done, (cause: unknown) =>
      done({ close: new MillraceError('ERR_BROKER_BUG', String(cause), { cause }) }),
    )
  }

  #finish(outcome: Outcome, bytes: number): void {
    this.#home.memory.give(bytes)
    this.#giveUp = undefined
    this.#busy = false
    if (this.#closed) return
    if ('send' in outcome) {
      if (outcome.send !== undefined) this.#connection.send(outcome.send)
    } else if ('silence' in outcome) {
      this.#silent = true
      this.#queue = []
    } else if (outcome.close === undefined) {
      this.close()
    } else {
      this.#refuse(outcome.close)
    }
  }

  /** Closes because of what the peer sent. */
  #refuse(error: MillraceError): void {
    this.#home.services.notify({ type: 'badRequest', node: this.node, remote: this.remote, error })
    this.close(error)
  }
}
