/**
 * Scrubbing: reads a whole table and checks that its parts agree: record CRCs, every record, their order, the counts and
 * ends of the properties, the index, and that the slots find each record. Works in steps; owns nothing.
 */
import { crc32 } from 'node:zlib'
import { compareKeys, compareToBound, everything } from './cursor.ts'
import { fileHeaderBytes } from './format.ts'
import { hashOf } from './key-hash.ts'
import { makeChunk, recordBytes } from './record.ts'
import { hasPlace } from './slot-index.ts'
import { TableCursor } from './table-cursor.ts'
import type { TableFile } from './table-file.ts'
import { spanBytes } from './table-layout.ts'

/** Records and slots checked per step. */
const recordsPerStep = 1024
const slotsPerStep = 256 * 1024

/** Throws StoreError ERR_STORE_CORRUPT at the first damage, or the system's error. */
export function* verifyTable(file: TableFile, hashSeed: number): Generator<undefined, void> {
  const { slotsEnd, indexEnd, propertiesEnd, indexCrc, propertiesCrc } = file.sections
  file.readSection('index', slotsEnd, indexEnd, indexCrc)
  file.readSection('properties', indexEnd, propertiesEnd, propertiesCrc)
  yield
  yield* verifySpans(file)
  const slots = file.readSlots()
  yield
  const taken = yield* countTaken(slots)
  if (taken !== file.meta.entryCount) {
    throw file.damage(file.sections.spansEnd, `${taken} of its slots are taken by ${file.meta.entryCount} entries`)
  }
  yield* verifyRecords(file, slots, hashSeed)
}

function* countTaken(slots: Int32Array): Generator<undefined, number> {
  let taken = 0
  for (let i = 0; i < slots.length; i++) {
    if (slots[i] !== 0) taken += 1
    if (i % slotsPerStep === slotsPerStep - 1) yield
  }
  return taken
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
    if (i % 16 === 0) yield
  }
}

function* verifyRecords(file: TableFile, slots: Int32Array, hashSeed: number): Generator<undefined, void> {
  const { spansEnd, slotsEnd, indexEnd } = file.sections
  const { index, meta } = file
  const cursor = new TableCursor([file], everything)
  let offset = fileHeaderBytes
  let block = 0
  let count = 0
  let tombstones = 0
  let dataBytes = 0
  let largest = 0
  // The last key; its bytes stay as they are.
  let lastSpace = 0
  let last: Buffer | undefined
  let lastFrom = 0
  let lastTo = 0
  while (cursor.next()) {
    const { space, keyBytes, keyFrom, keyTo, valueFrom, valueTo } = cursor
    if (last === undefined) {
      if (compareToBound(space, keyBytes, keyFrom, keyTo, meta.min) !== 0) {
        throw file.damage(offset, 'its first key is not the smallest of its properties')
      }
    } else if ((space - lastSpace || compareKeys(keyBytes, keyFrom, keyTo, last, lastFrom, lastTo)) <= 0) {
      throw file.damage(offset, 'its keys are not in order')
    }
    if (offset === index.offsetOf(block)) {
      const above = last === undefined || index.compare(block, lastSpace, last, lastFrom, lastTo) > 0
      if (!above || index.compare(block, space, keyBytes, keyFrom, keyTo) > 0) {
        throw file.damage(slotsEnd, `block ${block} of its index does not belong to the record at byte ${offset}`)
      }
      block += 1
    }
    if (!hasPlace(slots, hashOf(hashSeed, space, keyBytes, keyFrom, keyTo), offset >>> 3)) {
      throw file.damage(spansEnd, `its slots do not find the record at byte ${offset}`)
    }
    lastSpace = space
    last = keyBytes
    lastFrom = keyFrom
    lastTo = keyTo
    count += 1
    if (cursor.deleted) tombstones += 1
    else dataBytes += keyTo - keyFrom + valueTo - valueFrom
    const size = recordBytes(keyTo - keyFrom, valueTo - valueFrom)
    largest = Math.max(largest, size)
    offset += size
    if (count % recordsPerStep === 0) yield
  }
  const agrees =
    count === meta.entryCount &&
    tombstones === meta.tombstoneCount &&
    dataBytes === meta.dataBytes &&
    largest === meta.maxRecordBytes &&
    block === index.count &&
    last !== undefined &&
    compareToBound(lastSpace, last, lastFrom, lastTo, meta.max) === 0
  if (!agrees) throw file.damage(indexEnd, `its properties are not those of its ${count} records`)
}
