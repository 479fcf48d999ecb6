/**
 * Faults: what a test makes the broker do wrong, deterministically: rules per API, each for a number of requests.
 * Owns   the rules. The dispatcher asks for a plan per request, handlers ask per partition; nothing here acts by itself.
 */
import { OptionError } from '../base/errors.ts'
import { allApis } from '../protocol/api/index.ts'
import { errorCodes, type KafkaErrorName } from '../protocol/errors.ts'

/** Which requests a fault hits: all that is given must fit. */
export interface FaultMatch {
  /** How many requests (for `answer` with a topic: partitions) it hits before it is spent. Default 1; Infinity: until removed. */
  readonly times?: number
  /** How many that fit pass unharmed first. Default 0. */
  readonly skip?: number
  /** Requests about this topic. */
  readonly topic?: string
  /** Requests about this partition. Only with `topic`. */
  readonly partition?: number
  /** Requests about this group. */
  readonly group?: string
  /** Requests of clients with this client id. */
  readonly clientId?: string
  /** Requests to this node (1, 2, …). */
  readonly node?: number
}

/** A fault that was set. */
export interface Fault {
  /** How many requests it has hit. */
  readonly hits: number
  /** Takes it back; harmless when it is spent. */
  remove(): void
}

/** What a request is about, as the dispatcher knows it. */
export interface FaultSubject {
  readonly node: number
  readonly clientId: string
  readonly groups: readonly string[]
  /** Topic names with their partitions; undefined partitions: the whole topic. */
  readonly topics: readonly { readonly name: string; readonly partitions: readonly number[] | undefined }[]
}

type Action =
  | { readonly does: 'delay'; readonly ms: number; readonly when: 'before' | 'after' }
  | { readonly does: 'cut'; readonly when: 'before' | 'after' }
  | { readonly does: 'loseResponse' }
  | { readonly does: 'answer'; readonly errorCode: number; readonly when: 'before' | 'after' }
  | { readonly does: 'call'; readonly callback: () => void; readonly when: 'before' | 'after' }

/** What happens to one request. */
export interface FaultPlan {
  readonly delayBeforeMs: number
  readonly delayAfterMs: number
  readonly cut: 'before' | 'after' | undefined
  readonly loseResponse: boolean
  /** 0: none. */
  readonly answerBefore: number
  readonly answerAfter: number
  readonly callBefore: readonly (() => void)[]
  readonly callAfter: readonly (() => void)[]
}

class Rule implements Fault {
  hits = 0
  seen = 0
  readonly match: FaultMatch
  readonly action: Action
  readonly #remove: (rule: Rule) => void

  constructor(match: FaultMatch, action: Action, remove: (rule: Rule) => void) {
    this.match = match
    this.action = action
    this.#remove = remove
  }

  remove(): void {
    this.#remove(this)
  }

  /** Counts a request that fits; true when it is hit. */
  strike(): boolean {
    this.seen += 1
    if (this.seen <= (this.match.skip ?? 0)) return false
    this.hits += 1
    if (this.hits >= (this.match.times ?? 1)) this.remove()
    return true
  }
}

const apiNames: ReadonlySet<string> = new Set(allApis.map((api) => api.name))

/** Moves that the broker does at the wish of a test; given by the composition. */
export interface FaultMoves {
  moveLeader(topic: string, partition: number, node: number): void
  moveCoordinator(group: string, node: number): void
  cutConnections(match: { readonly node?: number; readonly clientId?: string }): number
}

/** The broker's fault port. APIs are called by Kafka's names: `Produce`, `Fetch`, `OffsetCommit` … */
export class Faults {
  readonly #rules = new Map<string, Rule[]>()
  readonly #moves: FaultMoves

  constructor(moves: FaultMoves) {
    this.#moves = moves
  }

  /** Delays requests by `ms` milliseconds: before they are processed (default), or their answers. */
  delay(api: string, ms: number, match: FaultMatch & { readonly when?: 'before' | 'after' } = {}): Fault {
    return this.#add(api, match, { does: 'delay', ms, when: match.when ?? 'before' })
  }

  /** Cuts the connection before the request is processed, or after it was processed and before it is answered. */
  cut(api: string, when: 'before' | 'after', match: FaultMatch = {}): Fault {
    return this.#add(api, match, { does: 'cut', when })
  }

  /** Processes the request, then stays silent: nothing more is answered on that connection. */
  loseResponse(api: string, match: FaultMatch = {}): Fault {
    return this.#add(api, match, { does: 'loseResponse' })
  }

  /**
   * Answers an error instead of processing; with `when: 'after'` the request is processed and the error answered all the
   * same. With `topic` only the partitions that fit get the error (Produce, Fetch, ListOffsets, OffsetForLeaderEpoch,
   * OffsetCommit, OffsetFetch, Metadata), else the whole request.
   */
  answer(api: string, error: KafkaErrorName, match: FaultMatch & { readonly when?: 'before' | 'after' } = {}): Fault {
    return this.#add(api, match, { does: 'answer', errorCode: errorCodes[error], when: match.when ?? 'before' })
  }

  /** Calls back before or after a request is processed, in the same turn: to crash or kill something at that point. */
  call(api: string, when: 'before' | 'after', callback: () => void, match: FaultMatch = {}): Fault {
    return this.#add(api, match, { does: 'call', callback, when })
  }

  /** Makes `node` the leader of a partition in a new epoch; −1: it has no leader. */
  moveLeader(topic: string, partition: number, node: number): void {
    this.#moves.moveLeader(topic, partition, node)
  }

  /** Makes `node` the coordinator of a group, and of all groups that share its partition of `__consumer_offsets`. */
  moveCoordinator(group: string, node: number): void {
    this.#moves.moveCoordinator(group, node)
  }

  /** Cuts open connections; returns how many. */
  cutConnections(match: { readonly node?: number; readonly clientId?: string } = {}): number {
    return this.#moves.cutConnections(match)
  }

  /** Removes every rule. */
  clear(): void {
    this.#rules.clear()
  }

  #add(api: string, match: FaultMatch, action: Action): Fault {
    const faults: string[] = []
    if (!apiNames.has(api)) faults.push(`unknown API '${api}': one of ${[...apiNames].join(', ')}`)
    if (match.partition !== undefined && match.topic === undefined) faults.push('partition needs topic')
    if (faults.length > 0) throw new OptionError('a broker fault', faults)
    let rules = this.#rules.get(api)
    if (rules === undefined) {
      rules = []
      this.#rules.set(api, rules)
    }
    const rule = new Rule(match, action, (spent) => {
      const list = this.#rules.get(api)
      const at = list?.indexOf(spent) ?? -1
      if (at >= 0) list?.splice(at, 1)
      if (list?.length === 0) this.#rules.delete(api)
    })
    rules.push(rule)
    return rule
  }

  /** What happens to this request, or undefined. Counts as a hit. */
  plan(api: string, subject: () => FaultSubject): FaultPlan | undefined {
    const rules = this.#rules.get(api)
    if (rules === undefined) return undefined
    const about = subject()
    const callBefore: (() => void)[] = []
    const callAfter: (() => void)[] = []
    let delayBeforeMs = 0
    let delayAfterMs = 0
    let cut: FaultPlan['cut']
    let loseResponse = false
    let answerBefore = 0
    let answerAfter = 0
    for (const rule of [...rules]) {
      if (isPerPartition(rule) || !fits(rule.match, about) || !rule.strike()) continue
      const { action } = rule
      switch (action.does) {
        case 'delay':
          if (action.when === 'before') delayBeforeMs += action.ms
          else delayAfterMs += action.ms
          break
        case 'cut':
          cut = cut === 'before' ? cut : action.when
          break
        case 'loseResponse':
          loseResponse = true
          break
        case 'answer':
          if (action.when === 'before') answerBefore ||= action.errorCode
          else answerAfter ||= action.errorCode
          break
        case 'call':
          if (action.when === 'before') callBefore.push(action.callback)
          else callAfter.push(action.callback)
      }
    }
    return { delayBeforeMs, delayAfterMs, cut, loseResponse, answerBefore, answerAfter, callBefore, callAfter }
  }

  /** The error to answer for one partition, or 0. */
  partitionError(
    api: string,
    when: 'before' | 'after',
    topic: string,
    partition: number | undefined,
    who: { readonly node: number; readonly clientId: string; readonly group?: string },
  ): number {
    const rules = this.#rules.get(api)
    if (rules === undefined) return 0
    for (const rule of [...rules]) {
      const { match, action } = rule
      if (!isPerPartition(rule) || action.does !== 'answer' || action.when !== when || match.topic !== topic) continue
      if (match.partition !== undefined && match.partition !== partition) continue
      if (match.node !== undefined && match.node !== who.node) continue
      if (match.clientId !== undefined && match.clientId !== who.clientId) continue
      if (match.group !== undefined && match.group !== who.group) continue
      if (rule.strike()) return action.errorCode
    }
    return 0
  }
}

function isPerPartition(rule: Rule): boolean {
  return rule.action.does === 'answer' && rule.match.topic !== undefined
}

function fits(match: FaultMatch, subject: FaultSubject): boolean {
  if (match.node !== undefined && match.node !== subject.node) return false
  if (match.clientId !== undefined && match.clientId !== subject.clientId) return false
  if (match.group !== undefined && !subject.groups.includes(match.group)) return false
  if (match.topic === undefined) return true
  const { partition } = match
  return subject.topics.some(
    (topic) =>
      topic.name === match.topic &&
      (partition === undefined || topic.partitions === undefined || topic.partitions.includes(partition)),
  )
}
