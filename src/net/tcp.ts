/**
 * TCP: the real transport. Adds the 4-byte size to what is sent and takes it off what arrives.
 * Owns one socket per connection. Frames sent in one turn leave in one system call; a dialled socket reads straight
 * into the frame in progress (see FrameDecoder), an accepted one copies its chunks in.
 */
import { createServer, type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'
import type { Connection, ConnectionHandler, DialOptions, Listener, ListenOptions, Network } from '../base/network.ts'
import { connectError, connectionLost, connectTimeout, formatAddress, NetworkError } from './errors.ts'
import { FrameDecoder, PartialBudget } from './frame-decoder.ts'

/** Frames up to this size are joined with their size field: one small write instead of a gather. */
const joinBytes = 1024
/** A silent peer is probed after this. */
const keepAliveMs = 30_000

/** Dials and listens on the machine's own network. Stateless. */
export function tcpNetwork(): Network {
  return { dial, listen }
}

class TcpConnection implements Connection {
  readonly remote: string
  readonly #socket: Socket
  readonly #decoder: FrameDecoder
  #handler: ConnectionHandler | undefined
  #reason: Error | undefined
  #corked = false
  #closed = false

  constructor(socket: Socket, remote: string, maxFrameBytes: number, budget: PartialBudget) {
    this.remote = remote
    this.#socket = socket
    this.#decoder = new FrameDecoder(maxFrameBytes, budget, remote, (frame) => this.#handler?.onFrame(frame))
  }

  get pendingBytes(): number {
    return this.#socket.writableLength
  }

  /** Connects the owner and the socket's events. Until then nothing is read. */
  attach(handler: ConnectionHandler): void {
    this.#handler = handler
    const socket = this.#socket
    socket.on('error', (cause: Error) => {
      this.#reason ??= connectionLost(this.remote, cause)
    })
    socket.on('close', () => {
      this.#closed = true
      this.#decoder.stop()
      handler.onClose(this.#reason)
    })
    socket.on('drain', () => handler.onDrain?.())
  }

  send(buffers: readonly Buffer[]): void {
    if (this.#closed) return
    let size = 0
    for (const buffer of buffers) size += buffer.length
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      queueMicrotask(() => {
        this.#corked = false
        this.#socket.uncork()
      })
    }
    if (size <= joinBytes) {
      const joined = Buffer.allocUnsafe(4 + size)
      joined.writeUInt32BE(size)
      let at = 4
      for (const buffer of buffers) at += buffer.copy(joined, at)
      this.#socket.write(joined)
      return
    }
    const head = Buffer.allocUnsafe(4)
    head.writeUInt32BE(size)
    this.#socket.write(head)
    for (const buffer of buffers) if (buffer.length > 0) this.#socket.write(buffer)
  }

  setReading(reading: boolean): void {
    if (this.#closed) return
    if (reading) this.#socket.resume()
    else this.#socket.pause()
  }

  close(reason?: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.#reason ??= reason
    this.#decoder.stop()
    this.#socket.destroy()
  }

  /** Bytes from an accepted socket. */
  received(chunk: Buffer): void {
    this.#guarded(() => this.#decoder.push(chunk))
  }

  /** Where a dialled socket reads to. */
  target(): Buffer {
    let target: Buffer = fallback
    this.#guarded(() => {
      target = this.#decoder.target()
    })
    return target
  }

  /** A dialled socket has read `count` bytes into `target`. */
  filled(count: number, target: Buffer): void {
    this.#guarded(() => this.#decoder.filled(count, target))
  }

  #guarded(step: () => void): void {
    if (this.#closed) return
    try {
      step()
    } catch (cause) {
      if (!(cause instanceof Error && cause.name === 'FrameError')) throw cause
      this.close(cause)
    }
  }
}

/** Where a socket may write after its connection was closed for a bad frame. Nobody reads it. */
const fallback = Buffer.alloc(1)

function dial(host: string, port: number, handler: ConnectionHandler, options: DialOptions): Promise<Connection> {
  return new Promise((resolve, reject) => {
    let connection: TcpConnection | undefined
    const onread: OnReadOpts = {
      buffer: () => connection?.target() ?? fallback,
      callback: (count, bytes) => {
        connection?.filled(count, bytes as Buffer)
        return true
      },
    }
    // Node takes `onread` here; its types know it only for `connect`.
    const socketOptions: SocketConstructorOpts & { readonly onread: OnReadOpts } = { onread }
    const socket = new Socket(socketOptions)
    const settle = (): void => {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', onAbort)
    }
    const timer = setTimeout(() => {
      settle()
      socket.destroy()
      reject(connectTimeout(host, port, options.connectTimeoutMs))
    }, options.connectTimeoutMs)
    const onAbort = (): void => {
      settle()
      socket.destroy()
      reject(options.signal?.reason)
    }
    options.signal?.addEventListener('abort', onAbort, { once: true })
    const onError = (cause: Error): void => {
      settle()
      reject(connectError(host, port, cause))
    }
    socket.once('error', onError)
    connection = new TcpConnection(
      socket,
      formatAddress(host, port),
      options.maxFrameBytes,
      new PartialBudget(Number.POSITIVE_INFINITY),
    )
    const opened = connection
    socket.connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs }, () => {
      settle()
      socket.off('error', onError)
      opened.attach(handler)
      resolve(opened)
    })
  })
}

function listen(options: ListenOptions, accept: (connection: Connection) => ConnectionHandler): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const budget = new PartialBudget(options.maxPartialBytes)
    const server = createServer(
      { noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs, pauseOnConnect: false },
      (socket) => {
        const remote = formatAddress(socket.remoteAddress ?? '?', socket.remotePort ?? 0)
        const connection = new TcpConnection(socket, remote, options.maxFrameBytes, budget)
        connection.attach(accept(connection))
        socket.on('data', (chunk: Buffer) => connection.received(chunk))
      },
    )
    const onError = (cause: Error): void => {
      const address = formatAddress(options.host, options.port)
      reject(
        new NetworkError(
          'ERR_LISTEN_FAILED',
          address,
          `cannot listen on ${address}: ${cause.message}; choose another port, or 0 for a free one`,
          cause,
        ),
      )
    }
    server.once('error', onError)
    server.listen({ host: options.host, port: options.port }, () => {
      server.off('error', onError)
      const bound = server.address()
      const port = typeof bound === 'object' && bound !== null ? bound.port : options.port
      resolve({
        host: options.host,
        port,
        close: () => {
          server.close()
          return Promise.resolve()
        },
      })
    })
  })
}
