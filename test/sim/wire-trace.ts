/** With SIM_TRACE=1: every request and response of a world as one line, records as producer id, epoch, sequence and count. */
import { allApis } from '../../src/protocol/api/index.ts'
import { decodeRequest, decodeRequestHeader, decodeResponse } from '../../src/protocol/frame.ts'
import { BatchScanner } from '../../src/protocol/record-view.ts'
import type { AnyApi } from '../../src/protocol/schema.ts'
import type { Process, Tap, TappedRequest } from './process.ts'
import type { World } from './world.ts'

/** Puts a tracing tap in front of the world's own. Does nothing unless SIM_TRACE=1. */
export function traceWire(world: World): void {
  if (process.env['SIM_TRACE'] !== '1') return
  const inner = world.tap
  world.tap = {
    onRequest(process, request) {
      world.note(`${process.name} → ${describeRequest(request)}`)
      return inner?.onRequest?.(process, request) ?? true
    },
    onResponse(process: Process, request: TappedRequest, response: Buffer) {
      world.note(`${process.name} ← ${describeResponse(request, response)}`)
      return inner?.onResponse?.(process, request, response) ?? true
    },
  } satisfies Tap
}

function apiOf(request: TappedRequest): AnyApi | undefined {
  return allApis.find((api) => api.key === request.apiKey)
}

function describeRequest(request: TappedRequest): string {
  const api = apiOf(request)
  if (api === undefined) return `api ${request.apiKey}`
  const head = `${api.name} v${request.apiVersion} #${request.correlationId}`
  try {
    const frame = request.frame()
    return `${head} ${show(decodeRequest(api, decodeRequestHeader(frame), frame))}`
  } catch (cause) {
    return `${head} (${String(cause)})`
  }
}

function describeResponse(request: TappedRequest, response: Buffer): string {
  const api = apiOf(request)
  if (api === undefined) return `api ${request.apiKey}`
  const head = `${api.name} v${request.apiVersion} #${request.correlationId}`
  try {
    return `${head} ${show(decodeResponse(api, request.apiVersion, response))}`
  } catch (cause) {
    return `${head} (${String(cause)})`
  }
}

function show(message: unknown): string {
  const text = JSON.stringify(message, (_key, value: unknown) => {
    if (typeof value === 'bigint') return String(value)
    const bytes = value as { type?: unknown; data?: number[] } | null
    if (typeof bytes !== 'object' || bytes?.type !== 'Buffer' || bytes.data === undefined) return value
    return batches(Buffer.from(bytes.data))
  })
  return text.length > 900 ? `${text.slice(0, 900)}…` : text
}

function batches(bytes: Buffer): string {
  try {
    const found: string[] = []
    const scanner = new BatchScanner(bytes)
    for (let batch = scanner.next(); batch !== undefined; batch = scanner.next()) {
      found.push(
        `[pid ${batch.producerId}/${batch.producerEpoch} seq ${batch.baseSequence}+${batch.count} @${batch.baseOffset}]`,
      )
    }
    return found.join('')
  } catch {
    return `<${bytes.length} bytes>`
  }
}
