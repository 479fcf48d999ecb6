/** All APIs millrace describes, and the table by key that a broker dispatches on. */
import type { AnyApi } from '../schema.ts'
import { apiVersions } from './api-versions.ts'
import { createTopics } from './create-topics.ts'
import { deleteTopics } from './delete-topics.ts'
import { describeConfigs } from './describe-configs.ts'
import { fetch } from './fetch.ts'
import { findCoordinator } from './find-coordinator.ts'
import { heartbeat } from './heartbeat.ts'
import { initProducerId } from './init-producer-id.ts'
import { joinGroup } from './join-group.ts'
import { leaveGroup } from './leave-group.ts'
import { listOffsets } from './list-offsets.ts'
import { metadata } from './metadata.ts'
import { offsetCommit } from './offset-commit.ts'
import { offsetFetch } from './offset-fetch.ts'
import { offsetForLeaderEpoch } from './offset-for-leader-epoch.ts'
import { produce } from './produce.ts'
import { syncGroup } from './sync-group.ts'

export {
  apiVersions,
  createTopics,
  deleteTopics,
  describeConfigs,
  fetch,
  findCoordinator,
  heartbeat,
  initProducerId,
  joinGroup,
  leaveGroup,
  listOffsets,
  metadata,
  offsetCommit,
  offsetFetch,
  offsetForLeaderEpoch,
  produce,
  syncGroup,
}

/** Every API, in the order of its key. */
export const allApis: readonly AnyApi[] = Object.freeze(
  [
    apiVersions,
    metadata,
    produce,
    fetch,
    listOffsets,
    offsetForLeaderEpoch,
    findCoordinator,
    joinGroup,
    syncGroup,
    heartbeat,
    leaveGroup,
    offsetCommit,
    offsetFetch,
    initProducerId,
    createTopics,
    deleteTopics,
    describeConfigs,
  ].sort((a, b) => a.key - b.key),
)

/** APIs by key. */
export const apisByKey: ReadonlyMap<number, AnyApi> = new Map(allApis.map((api) => [api.key, api]))
