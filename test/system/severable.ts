/**
 * A scope whose network can be severed: what a peer sees of a machine that crashes or drops off the network. The code in it
 * runs on and learns of it only by its broken connections, like a process that was stopped or cut off.
 * Owns the open connections.
 */
import type { Connection, Network } from '../../src/base/network.ts'
import type { Scope } from '../../src/base/scope.ts'
import { defaultScope, NetworkError, tcpNetwork } from '../../src/net/index.ts'
import { nodeFs } from '../../src/storage/index.ts'

export interface Severable {
  readonly scope: Scope
  /** Cuts every connection without a farewell; new ones are refused until `mend()`. */
  sever(): void
  mend(): void
}

export function severable(): Severable {
  const tcp = tcpNetwork()
  const open = new Set<Connection>()
  let severed = false
  const refusal = (address: string): NetworkError =>
    new NetworkError('ERR_CONNECTION_REFUSED', address, `the way to ${address} is severed by the test`)
  const network: Network = {
    listen: (options, accept) => tcp.listen(options, accept),
    async dial(host, port, handler, options) {
      const address = `${host}:${port}`
      if (severed) throw refusal(address)
      const connection = await tcp.dial(
        host,
        port,
        {
          onFrame: (frame) => {
            if (!severed) handler.onFrame(frame)
          },
          onClose: (reason) => {
            open.delete(connection)
            handler.onClose(reason)
          },
          onDrain: () => handler.onDrain?.(),
        },
        options,
      )
      open.add(connection)
      if (severed) connection.close(refusal(address))
      return connection
    },
  }
  return {
    scope: defaultScope(nodeFs(), network),
    sever: () => {
      severed = true
      for (const connection of open) connection.close(refusal(connection.remote))
    },
    mend: () => {
      severed = false
    },
  }
}
