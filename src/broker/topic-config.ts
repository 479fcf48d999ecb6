/**
 * Topic and broker settings as data: name, type, default, bounds, and what the embedded broker does with it. Settings
 * without effect in memory are accepted and described, so that tools that set them work.
 */

/** Kafka's config types as DescribeConfigs v3 numbers them. */
export const configTypes = {
  BOOLEAN: 1,
  STRING: 2,
  INT: 3,
  SHORT: 4,
  LONG: 5,
  DOUBLE: 6,
  LIST: 7,
  CLASS: 8,
  PASSWORD: 9,
} as const

/** Where a value comes from, as DescribeConfigs v1 numbers it. */
export const configSources = { TOPIC: 1, DYNAMIC_BROKER: 2, STATIC_BROKER: 4, DEFAULT: 5 } as const

export interface ConfigRow {
  readonly name: string
  readonly type: keyof typeof configTypes
  readonly default: string
  /** The broker-wide setting that gives the default, for DescribeConfigs' synonyms. */
  readonly synonym?: string
  /** A fault in words, or undefined. */
  check(value: string): string | undefined
  readonly doc: string
}

function whole(min: number, max: number): (value: string) => string | undefined {
  return (value) => {
    if (!/^-?\d{1,19}$/.test(value)) return 'is not a whole number'
    const n = Number(value)
    return n >= min && n <= max ? undefined : `must be from ${min} to ${max}`
  }
}
function fraction(value: string): string | undefined {
  const n = Number(value)
  return value.trim() !== '' && n >= 0 && n <= 1 ? undefined : 'must be from 0 to 1'
}
function flag(value: string): string | undefined {
  return value === 'true' || value === 'false' ? undefined : 'must be true or false'
}
function among(...words: readonly string[]): (value: string) => string | undefined {
  return (value) => (words.includes(value) ? undefined : `must be one of ${words.join(', ')}`)
}
function policies(value: string): string | undefined {
  const parts = value.split(',').map((part) => part.trim())
  return parts.every((part) => part === 'compact' || part === 'delete')
    ? undefined
    : 'must be delete, compact, or both with a comma'
}
function anyText(): string | undefined {
  return undefined
}

const int32Max = 0x7fff_ffff
const longMax = '9223372036854775807'
const int64 = 2 ** 63

function row(
  name: string,
  type: ConfigRow['type'],
  fallback: string,
  check: ConfigRow['check'],
  doc: string,
  synonym?: string,
): [string, ConfigRow] {
  const base = { name, type, default: fallback, check, doc }
  return [name, synonym === undefined ? base : { ...base, synonym }]
}

/** Every topic setting of Kafka 4.x that a client may give. */
export const topicConfigs: ReadonlyMap<string, ConfigRow> = new Map([
  row('cleanup.policy', 'LIST', 'delete', policies, 'delete or compact old records', 'log.cleanup.policy'),
  row(
    'compression.type',
    'STRING',
    'producer',
    among('uncompressed', 'zstd', 'lz4', 'snappy', 'gzip', 'producer'),
    'kept as the producer sent it',
    'compression.type',
  ),
  row('compression.gzip.level', 'INT', '-1', whole(-1, 9), 'no effect', 'compression.gzip.level'),
  row('compression.lz4.level', 'INT', '9', whole(1, 17), 'no effect', 'compression.lz4.level'),
  row('compression.zstd.level', 'INT', '3', whole(-131072, 22), 'no effect', 'compression.zstd.level'),
  row(
    'delete.retention.ms',
    'LONG',
    '86400000',
    whole(0, int64),
    'how long tombstones stay',
    'log.cleaner.delete.retention.ms',
  ),
  row('file.delete.delay.ms', 'LONG', '60000', whole(0, int64), 'no effect in memory', 'log.segment.delete.delay.ms'),
  row('flush.messages', 'LONG', longMax, whole(1, int64), 'no effect in memory', 'log.flush.interval.messages'),
  row('flush.ms', 'LONG', longMax, whole(0, int64), 'no effect in memory', 'log.flush.interval.ms'),
  row('follower.replication.throttled.replicas', 'LIST', '', anyText, 'no effect: no replication'),
  row('index.interval.bytes', 'INT', '4096', whole(0, int32Max), 'no effect in memory', 'log.index.interval.bytes'),
  row('leader.replication.throttled.replicas', 'LIST', '', anyText, 'no effect: no replication'),
  row('local.retention.bytes', 'LONG', '-2', whole(-2, int64), 'no effect: no tiers', 'log.local.retention.bytes'),
  row('local.retention.ms', 'LONG', '-2', whole(-2, int64), 'no effect: no tiers', 'log.local.retention.ms'),
  row(
    'max.compaction.lag.ms',
    'LONG',
    longMax,
    whole(1, int64),
    'when compaction must happen',
    'log.cleaner.max.compaction.lag.ms',
  ),
  row('max.message.bytes', 'INT', '1048588', whole(0, int32Max), 'largest record batch', 'message.max.bytes'),
  row(
    'message.timestamp.after.max.ms',
    'LONG',
    '3600000',
    whole(0, int64),
    'how far ahead of the clock',
    'log.message.timestamp.after.max.ms',
  ),
  row(
    'message.timestamp.before.max.ms',
    'LONG',
    longMax,
    whole(0, int64),
    'how far behind the clock',
    'log.message.timestamp.before.max.ms',
  ),
  row(
    'message.timestamp.type',
    'STRING',
    'CreateTime',
    among('CreateTime', 'LogAppendTime'),
    'whose clock',
    'log.message.timestamp.type',
  ),
  row(
    'min.cleanable.dirty.ratio',
    'DOUBLE',
    '0.5',
    fraction,
    'when compaction is worth it',
    'log.cleaner.min.cleanable.ratio',
  ),
  row(
    'min.compaction.lag.ms',
    'LONG',
    '0',
    whole(0, int64),
    'what compaction leaves alone',
    'log.cleaner.min.compaction.lag.ms',
  ),
  row('min.insync.replicas', 'INT', '1', whole(1, int32Max), 'no effect: one replica', 'min.insync.replicas'),
  row('preallocate', 'BOOLEAN', 'false', flag, 'no effect in memory', 'log.preallocate'),
  row('remote.log.copy.disable', 'BOOLEAN', 'false', flag, 'no effect: no tiers'),
  row('remote.log.delete.on.disable', 'BOOLEAN', 'false', flag, 'no effect: no tiers'),
  row(
    'remote.storage.enable',
    'BOOLEAN',
    'false',
    (v) => (v === 'false' ? undefined : 'must be false: there are no tiers'),
    'no tiers',
  ),
  row(
    'retention.bytes',
    'LONG',
    '-1',
    whole(-1, int64),
    'size of a partition above which old segments go',
    'log.retention.bytes',
  ),
  row('retention.ms', 'LONG', '604800000', whole(-1, int64), 'age above which old segments go', 'log.retention.ms'),
  row('segment.bytes', 'INT', '1073741824', whole(14, int32Max), 'when a segment is closed', 'log.segment.bytes'),
  row('segment.index.bytes', 'INT', '10485760', whole(4, int32Max), 'no effect in memory', 'log.index.size.max.bytes'),
  row('segment.jitter.ms', 'LONG', '0', whole(0, int64), 'no effect in memory', 'log.roll.jitter.ms'),
  row('segment.ms', 'LONG', '604800000', whole(1, int64), 'when a segment is closed', 'log.roll.ms'),
  row(
    'unclean.leader.election.enable',
    'BOOLEAN',
    'false',
    flag,
    'no effect: one replica',
    'unclean.leader.election.enable',
  ),
])

/** The settings of one topic, parsed once. Immutable. */
export class TopicConfig {
  /** What was set on the topic itself. */
  readonly overrides: ReadonlyMap<string, string>
  readonly compact: boolean
  /** Old segments may be deleted. */
  readonly deletes: boolean
  readonly maxMessageBytes: number
  readonly logAppendTime: boolean
  readonly timestampBeforeMaxMs: number
  readonly timestampAfterMaxMs: number
  readonly retentionBytes: number
  readonly retentionMs: number
  readonly segmentBytes: number
  readonly segmentMs: number

  /** `overrides` must have passed `checkTopicConfig`. */
  constructor(overrides: ReadonlyMap<string, string>) {
    this.overrides = overrides
    const policy = this.value('cleanup.policy')
    this.compact = policy.includes('compact')
    this.deletes = policy.includes('delete')
    this.maxMessageBytes = Number(this.value('max.message.bytes'))
    this.logAppendTime = this.value('message.timestamp.type') === 'LogAppendTime'
    this.timestampBeforeMaxMs = Number(this.value('message.timestamp.before.max.ms'))
    this.timestampAfterMaxMs = Number(this.value('message.timestamp.after.max.ms'))
    this.retentionBytes = Number(this.value('retention.bytes'))
    this.retentionMs = Number(this.value('retention.ms'))
    this.segmentBytes = Number(this.value('segment.bytes'))
    this.segmentMs = Number(this.value('segment.ms'))
  }

  /** The effective value of a known setting, as text. */
  value(name: string): string {
    return this.overrides.get(name) ?? topicConfigs.get(name)?.default ?? ''
  }
}

/** The first fault of a setting in words, or undefined. A null value means the default. */
export function checkTopicConfig(name: string, value: string | null): string | undefined {
  const known = topicConfigs.get(name)
  if (known === undefined) return `Unknown topic config name: ${name}`
  if (value === null) return `Null value not supported for topic configs: ${name}`
  const fault = known.check(value)
  return fault === undefined ? undefined : `Invalid value ${value} for configuration ${name}: ${fault}`
}

/** A fault of a topic name in words (Kafka's rules), or undefined. */
export function checkTopicName(name: string): string | undefined {
  if (name === '') return 'the topic name is empty'
  if (name === '.' || name === '..') return `the topic name cannot be "${name}"`
  if (name.length > 249) return `the topic name is ${name.length} characters long; at most 249 are allowed`
  if (!/^[a-zA-Z0-9._-]+$/.test(name)) return 'the topic name may have only ASCII letters, digits, ".", "_" and "-"'
  return undefined
}
