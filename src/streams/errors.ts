/**
 * What the streams layer throws: one family, told apart by `code`. Codes are API. Errors of the client and of brokers
 * keep their own classes and appear here as `cause`.
 */
import { MillraceError } from '../base/errors.ts'

/**
 * - `ERR_GRAPH`: a group's declaration contradicts itself (`GraphError`).
 * - `ERR_TOPIC_NAME`: not a legal topic or group name (`TopicNameError`).
 * - `ERR_CODEC`: a codec refused a value or bytes (`CodecError`).
 * - `ERR_CALLBACK`: a callback threw (`RecordError`, the `cause` is what was thrown).
 * - `ERR_RECORD`: a record cannot be handed to its callback: undecodable value or key, null key (`RecordError`).
 * - `ERR_UNDECLARED`: the callback used an output, join, lookup, loop or table that its group does not declare.
 * - `ERR_CONTEXT_ENDED`: a context was used after its callback had ended.
 * - `ERR_CALLBACK_LIMIT`: one callback emitted more bytes than `maxCallbackBytes`, or a record that no request can carry.
 * - `ERR_CALLBACK_TIMEOUT`: a callback took longer than `callbackTimeoutMs`.
 * - `ERR_STATE`: the method cannot be called in this state, for example `start` twice.
 * - `ERR_PARTITION_ELSEWHERE`: the key's partition is not assigned to this instance (retriable).
 * - `ERR_PARTITION_COUNT`: topics that must have equal partition counts have not, or a count changed.
 * - `ERR_TOPIC_MISSING`: a topic that is needed does not exist; `ensureStreams` creates it.
 * - `ERR_TABLE_NOT_COMPACTED`: a table topic has no `cleanup.policy=compact` and would lose keys.
 * - `ERR_LOST_OFFSETS`: the broker deleted records that were not processed yet.
 * - `ERR_TABLE_DIVERGED`: the local table has more than its topic does (`TableDivergedError`).
 * - `ERR_CHANGELOG`: a table write failed for good; the task restores its table.
 * - `ERR_MISROUTED_KEYS`: records lie in other partitions than the partitioner would choose.
 */
export type StreamsErrorCode =
  | 'ERR_GRAPH'
  | 'ERR_TOPIC_NAME'
  | 'ERR_CODEC'
  | 'ERR_CALLBACK'
  | 'ERR_RECORD'
  | 'ERR_UNDECLARED'
  | 'ERR_CONTEXT_ENDED'
  | 'ERR_CALLBACK_LIMIT'
  | 'ERR_CALLBACK_TIMEOUT'
  | 'ERR_STATE'
  | 'ERR_PARTITION_ELSEWHERE'
  | 'ERR_PARTITION_COUNT'
  | 'ERR_TOPIC_MISSING'
  | 'ERR_TABLE_NOT_COMPACTED'
  | 'ERR_LOST_OFFSETS'
  | 'ERR_TABLE_DIVERGED'
  | 'ERR_CHANGELOG'
  | 'ERR_MISROUTED_KEYS'

/** Base of the streams layer's errors; `code` tells which. Not retriable unless the code's description says so. */
export class StreamsError extends MillraceError {
  override readonly name: string = 'StreamsError'
  /** Which of the streams layer's errors it is; stable. */
  declare readonly code: StreamsErrorCode
  constructor(code: StreamsErrorCode, message: string, options: { retriable?: boolean; cause?: unknown } = {}) {
    super(code, message, options)
  }
}

/** A codec refused a value (encode) or bytes (decode). Code `ERR_CODEC`. `cause` is what the codec threw, if anything. */
export class CodecError extends StreamsError {
  override readonly name = 'CodecError'
  /** The codec's name. */
  readonly codec: string
  constructor(codec: string, message: string, cause?: unknown) {
    super('ERR_CODEC', `codec ${codec} ${message}`, { cause })
    this.codec = codec
  }
}

/** Not a legal topic or group name. Code `ERR_TOPIC_NAME`. */
export class TopicNameError extends StreamsError {
  override readonly name = 'TopicNameError'
  constructor(message: string) {
    super('ERR_TOPIC_NAME', message)
  }
}

/** A group's declaration contradicts itself; lists every fault found, not only the first. Code `ERR_GRAPH`. */
export class GraphError extends StreamsError {
  override readonly name = 'GraphError'
  /** The group's name. */
  readonly group: string
  /** One sentence per fault. */
  readonly faults: readonly string[]
  constructor(group: string, faults: readonly string[]) {
    super('ERR_GRAPH', `group ${group} is not well defined: ${faults.join('; ')}`)
    this.group = group
    this.faults = faults
  }
}

/** What a local table and its topic disagree about. */
export interface Divergence {
  /** The group whose table it is; undefined: a copy that joins, lookups and views read. */
  readonly group: string | undefined
  readonly topic: string
  readonly partition: number
  /** The offset to which the local table has followed its topic. */
  readonly position: number
  /** First offset of the topic's partition. */
  readonly earliest: number
  /** Its end. */
  readonly end: number
  /** What has become of the topic. */
  readonly why: string
  /** Where the local table lies; undefined: in memory. */
  readonly directory: string | undefined
}

/**
 * A local table has followed its topic further than the topic goes: what is on this machine may be the only copy left, so
 * nothing is changed until somebody has decided. Code `ERR_TABLE_DIVERGED`; the message names both ways out.
 */
export class TableDivergedError extends StreamsError {
  override readonly name = 'TableDivergedError'
  /** The group whose table it is; undefined: a copy that joins, lookups and views read. */
  readonly group: string | undefined
  /** The table's topic. */
  readonly topic: string
  /** Its partition. */
  readonly partition: number
  /** The offset to which the local table has followed its topic. */
  readonly position: number
  /** The end of the topic's partition. */
  readonly end: number
  /** Where the local table lies; undefined: in memory. */
  readonly directory: string | undefined
  constructor(what: Divergence) {
    const { group, topic, partition, position, earliest, end, why, directory } = what
    const whose = group === undefined ? 'the local copy' : `the local table of group ${group}`
    const where = earliest === end ? `is empty (its next offset is ${end})` : `ends at offset ${end}`
    const remedies =
      directory === undefined
        ? 'Restart the process to discard it and to take what the topic has'
        : `To write it back into the topic: millrace store republish ${quoted(directory)} --brokers HOST:PORT ` +
          `--topic ${topic} --partition ${partition}. To discard it and take what the topic has: ` +
          `millrace store discard ${quoted(directory)}`
    super(
      'ERR_TABLE_DIVERGED',
      `${whose} of ${topic}/${partition} has followed its topic to offset ${position}, but the topic ${where}: ${why}. ` +
        `The local one may be the only copy left. ${remedies}`,
    )
    this.group = group
    this.topic = topic
    this.partition = partition
    this.position = position
    this.end = end
    this.directory = directory
  }
}

/** A path as a shell takes it. */
function quoted(path: string): string {
  return /^[\w./%+:@-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}

/** Which record an error is about. */
export interface RecordPlace {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** The decoded key as text; absent when the key itself cannot be decoded. */
  readonly key?: string
}

/**
 * Processing one record failed; says which. Code `ERR_CALLBACK` when the callback threw (the `cause`), `ERR_RECORD` when
 * the record could not be handed to it, otherwise the code of what the callback did wrong.
 */
export class RecordError extends StreamsError {
  override readonly name = 'RecordError'
  /** The input it came from. */
  readonly topic: string
  /** Its partition. */
  readonly partition: number
  /** Its offset: where processing goes on at the next start. */
  readonly offset: number
  /** The decoded key as text; undefined when the key itself cannot be decoded. */
  readonly key: string | undefined
  constructor(code: StreamsErrorCode, place: RecordPlace, what: string, cause?: unknown) {
    const key = place.key === undefined ? '' : `, key ${shownKey(place.key)}`
    super(code, `${place.topic}/${place.partition}, offset ${place.offset}${key}: ${what}`, { cause })
    this.topic = place.topic
    this.partition = place.partition
    this.offset = place.offset
    this.key = place.key
  }
}

/** A key for messages: a key may be as long as a record. */
function shownKey(key: string): string {
  return key.length <= 100 ? JSON.stringify(key) : `${JSON.stringify(key.slice(0, 100))}… (${key.length} characters)`
}
