/** Public door `millrace/codec`: the codecs that come with millrace, and the interface for one's own. */
export type { Codec, ValueWriter } from '../codec.ts'
export { CodecError } from '../errors.ts'
export { bytes } from './bytes.ts'
export { int64 } from './int64.ts'
export { integer } from './integer.ts'
export { json } from './json.ts'
export { string } from './string.ts'
