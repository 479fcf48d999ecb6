/**
 * Scrubbing: reads a whole table and checks that its parts agree: record CRCs, every record, their order, the counts and
 * ends of the properties, the index, and that the slots find each record. Works in steps; owns nothing.
 */
import { crc32 } from 'node:zlib'
import { compareToBound, everything, type KeyBound } from './cursor.ts'
import { fileHeaderBytes } from './format.ts'
import { hashOf } from './key-hash.ts'
import { makeChunk, recordBytes } from './record.ts'
import { hasPlace } from './slot-index.ts'
import { TableCursor } from './table-cursor.ts'
import type { TableFile } from './table-file.ts'
import { spanBytes } from './table-layout.ts'

/** Records checked per step. */
const recordsPerStep = 2048

/** Throws StoreError ERR_STORE_CORRUPT at the first damage, or the system's error. */
export function* verifyTable(file: TableFile, hashSeed: number): Generator<undefined, void> {
  yield* verifySpans(file)
  yield* verifyRecords(file, hashSeed)
}

function* verifySpans(file: TableFile): Generator<undefined, void> {
  const { recordsEnd, spansEnd, spansCrc } = file.sections
  const crcs = file.readSection('record checksums', recordsEnd, spansEnd, spansCrc)
  const chunk = makeChunk(spanBytes)
  let i = 0
  for (let offset = fileHeaderBytes; offset < recordsEnd; offset += spanBytes) {
    const length = Math.min(spanBytes, recordsEnd - offset)
    file.fill(chunk, 0, length, offset)
    if (crc32(chunk.bytes.subarray(0, length), file.seed) !== crcs.bytes.readUInt32LE(4 * i)) {
      throw file.damage(offset, `the checksum of the ${length} bytes from here does not match`)
    }
    i += 1
    if (i % 8 === 0) yield
  }
}

function* verifyRecords(file: TableFile, hashSeed: number): Generator<undefined, void> {
  const { spansEnd, slotsEnd, indexEnd } = file.sections
  const { index, meta } = file
  const slots = file.readSlots()
  const cursor = new TableCursor([file], everything)
  let offset = fileHeaderBytes
  let block = 0
  let count = 0
  let tombstones = 0
  let dataBytes = 0
  let largest = 0
  let last: KeyBound | undefined
  while (cursor.next()) {
    const { space, keyBytes, keyFrom, keyTo, valueFrom, valueTo } = cursor
    if (last === undefined && compareToBound(space, keyBytes, keyFrom, keyTo, meta.min) !== 0) {
      throw file.damage(offset, 'its first key is not the smallest of its properties')
    }
    if (last !== undefined && compareToBound(space, keyBytes, keyFrom, keyTo, last) <= 0) {
      throw file.damage(offset, 'its keys are not in order')
    }
    if (offset === index.offsetOf(block)) {
      const above = last === undefined || index.compare(block, last.space, last.key, 0, last.key.length) > 0
      if (!above || index.compare(block, space, keyBytes, keyFrom, keyTo) > 0) {
        throw file.damage(slotsEnd, `block ${block} of its index does not belong to the record at byte ${offset}`)
      }
      block += 1
    }
    if (!hasPlace(slots, hashOf(hashSeed, space, keyBytes, keyFrom, keyTo), offset >>> 3)) {
      throw file.damage(spansEnd, `its slots do not find the record at byte ${offset}`)
    }
    last = { space, key: Buffer.from(keyBytes.subarray(keyFrom, keyTo)) }
    count += 1
    if (cursor.deleted) tombstones += 1
    else dataBytes += keyTo - keyFrom + valueTo - valueFrom
    const size = recordBytes(keyTo - keyFrom, valueTo - valueFrom)
    largest = Math.max(largest, size)
    offset += size
    if (count % recordsPerStep === 0) yield
  }
  let taken = 0
  for (let i = 0; i < slots.length; i++) if (slots[i] !== 0) taken += 1
  if (taken !== meta.entryCount) throw file.damage(spansEnd, `${taken} of its slots are taken by ${count} records`)
  const agrees =
    count === meta.entryCount &&
    tombstones === meta.tombstoneCount &&
    dataBytes === meta.dataBytes &&
    largest === meta.maxRecordBytes &&
    block === index.count &&
    last !== undefined &&
    compareToBound(last.space, last.key, 0, last.key.length, meta.max) === 0
  if (!agrees) throw file.damage(indexEnd, `its properties are not those of its ${count} records`)
}
