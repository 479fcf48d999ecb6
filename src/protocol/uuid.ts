/**
 * Kafka uuids (topic ids, directory ids) as strings of 32 lower-case hex digits: comparable, usable as Map keys, and
 * the same in every log line. Kafka's own tools print them as unpadded base64url; the two conversions are here.
 */

/** The uuid Kafka uses for "none". */
export const ZERO_UUID = '0'.repeat(32)

/** Whether `text` is a uuid in millrace's form. */
export function isUuid(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text)
}

/** Kafka's printed form (22 characters of base64url) of a uuid. */
export function uuidToBase64(uuid: string): string {
  return Buffer.from(uuid, 'hex').toString('base64url')
}

/** A uuid from Kafka's printed form; undefined when `text` is not one. */
export function uuidFromBase64(text: string): string | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.length === 16 && bytes.toString('base64url') === text ? bytes.toString('hex') : undefined
}
