/** FindCoordinator: which node answers for a group. Transactional ids and share groups are refused: not supported yet. */
import { findCoordinator } from '../../protocol/api/find-coordinator.ts'
import { errorCodes } from '../../protocol/errors.ts'
import { handle, objects, type RequestContext } from '../dispatch.ts'

interface Found {
  key: string
  nodeId: number
  host: string
  port: number
  errorCode: number
  errorMessage: string | null
}

function failed(key: string, errorCode: number, errorMessage: string | null = null): Found {
  return { key, nodeId: -1, host: '', port: -1, errorCode, errorMessage }
}

function find(key: string, keyType: number, context: RequestContext): Found {
  if (keyType === 1) {
    const why = 'the embedded broker does not support transactions yet'
    return failed(key, errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, why)
  }
  if (keyType !== 0)
    return failed(key, errorCodes.INVALID_REQUEST, `the embedded broker has no coordinator of type ${keyType}`)
  if (key === '') return failed(key, errorCodes.INVALID_GROUP_ID)
  const { cluster, coordinator } = context.services
  const node = cluster.node(coordinator.partitionOf(key).leader)
  if (node === undefined) return failed(key, errorCodes.COORDINATOR_NOT_AVAILABLE)
  return { key, nodeId: node.id, host: node.host, port: node.port, errorCode: 0, errorMessage: null }
}

function answer(version: number, keys: readonly string[], of: (key: string) => Found) {
  const coordinators = keys.map(of)
  if (version >= 4) return { coordinators }
  const first = coordinators[0] ?? failed('', errorCodes.INVALID_REQUEST)
  const { errorCode, errorMessage, nodeId, host, port } = first
  return { errorCode, errorMessage, nodeId, host, port }
}

function keysOf(
  request: { readonly key: string; readonly coordinatorKeys: readonly string[] },
  version: number,
): readonly string[] {
  return version >= 4 ? request.coordinatorKeys : [request.key]
}

export const findCoordinatorHandler = handle(
  findCoordinator,
  {
    memory: objects,
    refuse: (request, errorCode, context) =>
      answer(context.apiVersion, keysOf(request, context.apiVersion), (key) => failed(key, errorCode)),
    groups: (request) => [request.key, ...request.coordinatorKeys],
  },
  (request, context) =>
    answer(context.apiVersion, keysOf(request, context.apiVersion), (key) => find(key, request.keyType, context)),
)
