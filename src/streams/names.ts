/**
 * Names of topics and groups: Kafka's rule for topic names, and the topics that belong to a group (goka's scheme).
 */

/** Longest topic name that a broker accepts, characters. */
export const maxTopicNameLength = 249

const legal = /^[a-zA-Z0-9._-]+$/

/** What is wrong with a topic or group name, as the end of a sentence; undefined when nothing is. */
export function nameFault(name: unknown): string | undefined {
  if (typeof name !== 'string') return 'must be a string'
  if (name === '') return 'must not be empty'
  if (name === '.' || name === '..') return `must not be '${name}'`
  if (name.length > maxTopicNameLength)
    return `has ${name.length} characters, at most ${maxTopicNameLength} are allowed`
  if (!legal.test(name)) return "may contain letters, digits, '.', '_' and '-' only"
  return undefined
}

/** The topic of a group's table: `<group>-table`. */
export function tableTopic<const N extends string>(group: N): `${N}-table` {
  return `${group}-table`
}

/** The topic of a group's loop: `<group>-loop`. */
export function loopTopic<const N extends string>(group: N): `${N}-loop` {
  return `${group}-loop`
}
