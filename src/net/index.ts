/** The net room's door: transports, their errors, and the real world as a Scope. */
export { defaultScope } from './default-scope.ts'
export { connectionLost, FrameError, formatAddress, NetworkError, type NetworkErrorCode } from './errors.ts'
export { type InProcessHooks, InProcessNetwork, type Route } from './in-process.ts'
export { tcpNetwork } from './tcp.ts'
