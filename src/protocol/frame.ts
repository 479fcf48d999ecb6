/**
 * Frames: header and body of one request or response, without the 4-byte size that the transport adds. Knows the two
 * irregularities of the headers: the client id is never compact, and the response header of ApiVersions is always the
 * old one. Functions only; nothing is kept.
 */
import { errorCodes, ProtocolError } from './errors.ts'
import { Reader } from './reader.ts'
import type { AnyApi, Api } from './schema.ts'
import { Writer } from './writer.ts'

const API_VERSIONS_KEY = 18

/** First fields of a request frame; the same in every version of the header. */
export interface RequestHeader {
  /** Which API (`Api.key`); perhaps one that millrace does not describe. */
  readonly apiKey: number
  /** Version of the body as the client says; perhaps one that does not exist. */
  readonly apiVersion: number
  /** Chosen by the client; the response repeats it. */
  readonly correlationId: number
  /** What the client calls itself. */
  readonly clientId: string | null
  /** Position after the client id: tagged header fields (flexible versions) or the body. */
  readonly bodyFrom: number
}

function isFlexible(api: Pick<AnyApi, 'flexibleFrom'>, version: number): boolean {
  return version >= api.flexibleFrom
}

/** Builds a request frame. The Buffers go to the transport as they are. Throws ProtocolError (schema.ts). */
export function encodeRequest<RequestOut, RequestIn, ResponseOut, ResponseIn>(
  api: Api<RequestOut, RequestIn, ResponseOut, ResponseIn>,
  version: number,
  correlationId: number,
  clientId: string | null,
  input: RequestIn,
): Buffer[] {
  const writer = new Writer()
  writer.int16(api.key)
  writer.int16(version)
  writer.int32(correlationId)
  writer.nullableString(clientId)
  if (isFlexible(api, version)) writer.uvarint(0)
  api.request.write(writer, input, version)
  return writer.finish()
}

/** Reads the header of a request frame; throws ProtocolError when it is cut off. Works for unknown APIs and versions. */
export function decodeRequestHeader(frame: Buffer): RequestHeader {
  const reader = new Reader(frame)
  const apiKey = reader.int16()
  const apiVersion = reader.int16()
  const correlationId = reader.int32()
  const clientId = reader.nullableString()
  const bodyFrom = reader.at
  reader.check('request header')
  return { apiKey, apiVersion, correlationId, clientId, bodyFrom }
}

/** Reads the body of a request whose header was read. Throws ProtocolError for a version or bytes that do not fit. */
export function decodeRequest<RequestOut, RequestIn, ResponseOut, ResponseIn>(
  api: Api<RequestOut, RequestIn, ResponseOut, ResponseIn>,
  header: RequestHeader,
  frame: Buffer,
): RequestOut {
  const reader = new Reader(frame, header.bodyFrom)
  const version = header.apiVersion
  if (isFlexible(api, version)) reader.skipTags()
  const request = api.request.read(reader, version)
  reader.check(`${api.name} v${version} request`)
  return request
}

/** Builds a response frame. Throws ProtocolError (schema.ts). */
export function encodeResponse<RequestOut, RequestIn, ResponseOut, ResponseIn>(
  api: Api<RequestOut, RequestIn, ResponseOut, ResponseIn>,
  version: number,
  correlationId: number,
  input: ResponseIn,
): Buffer[] {
  const writer = new Writer()
  writer.int32(correlationId)
  if (isFlexible(api, version) && api.key !== API_VERSIONS_KEY) writer.uvarint(0)
  api.response.write(writer, input, version)
  return writer.finish()
}

/** The correlation id of a response frame; throws ProtocolError when it is shorter than that. */
export function correlationIdOf(frame: Buffer): number {
  if (frame.length < 4) throw new ProtocolError(`a response of ${frame.length} bytes has no correlation id`, 0)
  return frame.readInt32BE(0)
}

/**
 * Reads a response frame. An ApiVersions response that says UNSUPPORTED_VERSION is read as version 0 whatever was asked:
 * that is how brokers answer versions they do not know. Throws ProtocolError.
 */
export function decodeResponse<RequestOut, RequestIn, ResponseOut, ResponseIn>(
  api: Api<RequestOut, RequestIn, ResponseOut, ResponseIn>,
  version: number,
  frame: Buffer,
): ResponseOut {
  const reader = new Reader(frame, Math.min(4, frame.length))
  let bodyVersion = version
  if (api.key === API_VERSIONS_KEY) {
    if (frame.length >= 6 && frame.readInt16BE(4) === errorCodes.UNSUPPORTED_VERSION) bodyVersion = 0
  } else if (isFlexible(api, version)) {
    reader.skipTags()
  }
  const response = api.response.read(reader, bodyVersion)
  reader.check(`${api.name} v${version} response`)
  return response
}
