/**
 * What members of a classic "consumer" group put into JoinGroup and SyncGroup: subscription and assignment, versions 0
 * to 3. They begin with their version; a reader that knows fewer versions reads the prefix it knows and ignores the
 * rest, which is how the format may grow. Functions only.
 */
import { ProtocolError } from './errors.ts'
import { Reader } from './reader.ts'
import { array, bytes, defineMessage, type InputOf, int32, type OutputOf, string, structs } from './schema.ts'
import { Writer } from './writer.ts'

const VERSIONS = [0, 3] as const
const NEWEST = VERSIONS[1]

const subscriptionFields = {
  topics: array(string()),
  userData: bytes({ nullable: true, default: null }),
  ownedPartitions: structs({ topic: string(), partitions: array(int32()) }, { since: 1, ignorable: true }),
  generationId: int32({ since: 2, default: -1, ignorable: true }),
  rackId: string({ since: 3, nullable: true, default: null, ignorable: true }),
} as const

const assignmentFields = {
  assignedPartitions: structs({ topic: string(), partitions: array(int32()) }),
  userData: bytes({ nullable: true, default: null }),
} as const

const flexible = Number.POSITIVE_INFINITY

/** Schema of the subscription without the version in front. */
export const subscription = defineMessage({
  name: 'ConsumerProtocolSubscription',
  versions: VERSIONS,
  flexible,
  strict: true,
  fields: subscriptionFields,
})

/** Schema of the assignment without the version in front. */
export const assignment = defineMessage({
  name: 'ConsumerProtocolAssignment',
  versions: VERSIONS,
  flexible,
  strict: true,
  fields: assignmentFields,
})

/** What a member tells its leader. `userData` belongs to the assignor. */
export type Subscription = OutputOf<typeof subscriptionFields>
/** A subscription as written; what has a default may be left out. */
export type SubscriptionInput = InputOf<typeof subscriptionFields>
/** What the leader tells a member. */
export type Assignment = OutputOf<typeof assignmentFields>
/** An assignment as written; what has a default may be left out. */
export type AssignmentInput = InputOf<typeof assignmentFields>

/** Bytes for JoinGroup. `version` 0 to 3; default the newest. Throws ProtocolError. */
export function encodeSubscription(input: SubscriptionInput, version: number = NEWEST): Buffer {
  const writer = new Writer()
  writer.int16(version)
  subscription.write(writer, input, version)
  return Buffer.concat(writer.finish())
}

/** Reads another member's subscription. Throws ProtocolError; unknown newer versions are read as the newest known. */
export function decodeSubscription(payload: Buffer): Subscription {
  const reader = new Reader(payload)
  const read = subscription.read(reader, payloadVersion(reader))
  reader.check('group subscription')
  return read
}

/** Bytes for SyncGroup. `version` 0 to 3; default the newest. Throws ProtocolError. */
export function encodeAssignment(input: AssignmentInput, version: number = NEWEST): Buffer {
  const writer = new Writer()
  writer.int16(version)
  assignment.write(writer, input, version)
  return Buffer.concat(writer.finish())
}

/** Reads what the leader assigned. An empty payload is an empty assignment. Throws ProtocolError. */
export function decodeAssignment(payload: Buffer): Assignment {
  if (payload.length === 0) return { assignedPartitions: [], userData: null }
  const reader = new Reader(payload)
  const read = assignment.read(reader, payloadVersion(reader))
  reader.check('group assignment')
  return read
}

function payloadVersion(reader: Reader): number {
  const version = reader.int16()
  if (version < 0) throw new ProtocolError(`a group member payload has version ${version}`, 0)
  return Math.min(version, NEWEST)
}
