/**
 * GroupState: all that is known of one group for good.
 * Owns   phase, generation, members, offsets. `apply` is its only mutator; timers and waiting answers live elsewhere.
 */
import type { GroupPhase, GroupRecord, GroupValue, MemberValue, OffsetValue } from './records.ts'

export interface Member extends MemberValue {
  readonly id: string
}

export class GroupState {
  readonly id: string
  #value: GroupValue = { phase: 'Empty', generation: 0, protocolType: null, protocol: null, leader: null, changedAt: 0 }
  readonly #members = new Map<string, Member>()
  readonly #instances = new Map<string, string>()
  readonly #offsets = new Map<string, Map<number, OffsetValue>>()
  #offsetCount = 0

  constructor(id: string) {
    this.id = id
  }

  get value(): GroupValue {
    return this.#value
  }

  get phase(): GroupPhase {
    return this.#value.phase
  }

  get generation(): number {
    return this.#value.generation
  }

  /** By member id, in the order they joined. */
  get members(): ReadonlyMap<string, Member> {
    return this.#members
  }

  /** The member id that holds a static instance id. */
  memberOf(instanceId: string): string | undefined {
    return this.#instances.get(instanceId)
  }

  get offsetCount(): number {
    return this.#offsetCount
  }

  offset(topic: string, partition: number): OffsetValue | undefined {
    return this.#offsets.get(topic)?.get(partition)
  }

  get offsets(): ReadonlyMap<string, ReadonlyMap<number, OffsetValue>> {
    return this.#offsets
  }

  /** Nothing is left to remember. */
  get isBlank(): boolean {
    return this.#members.size === 0 && this.#offsetCount === 0 && this.#value.generation === 0
  }

  apply(record: GroupRecord): void {
    switch (record.kind) {
      case 'group':
        this.#value = record.value ?? {
          phase: 'Empty',
          generation: 0,
          protocolType: null,
          protocol: null,
          leader: null,
          changedAt: 0,
        }
        break
      case 'member': {
        const before = this.#members.get(record.memberId)
        if (before?.instanceId != null && this.#instances.get(before.instanceId) === record.memberId) {
          this.#instances.delete(before.instanceId)
        }
        if (record.value === null) {
          this.#members.delete(record.memberId)
          break
        }
        this.#members.set(record.memberId, { ...record.value, id: record.memberId })
        if (record.value.instanceId !== null) this.#instances.set(record.value.instanceId, record.memberId)
        break
      }
      case 'offset': {
        let partitions = this.#offsets.get(record.topic)
        if (record.value === null) {
          if (partitions?.delete(record.partition) === true) this.#offsetCount -= 1
          if (partitions?.size === 0) this.#offsets.delete(record.topic)
          break
        }
        if (partitions === undefined) {
          partitions = new Map()
          this.#offsets.set(record.topic, partitions)
        }
        if (!partitions.has(record.partition)) this.#offsetCount += 1
        partitions.set(record.partition, record.value)
        break
      }
    }
  }

  /** The whole state as records, for rewriting its log. */
  *records(): IterableIterator<GroupRecord> {
    if (this.#value.generation > 0 || this.#members.size > 0)
      yield { kind: 'group', group: this.id, value: this.#value }
    for (const [memberId, value] of this.#members) yield { kind: 'member', group: this.id, memberId, value }
    for (const [topic, partitions] of this.#offsets) {
      for (const [partition, value] of partitions) yield { kind: 'offset', group: this.id, topic, partition, value }
    }
  }
}
