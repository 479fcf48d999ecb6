/** Files that no version has any more: one that stays, for whatever reason, is told of and holds up no other. */
import * as assert from 'uvu/assert'
import { Removals } from '../../../src/storage/log/removals.ts'
import { suite } from '../../support/suite.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('log engine: removing files')

for (const what of ['the lock cannot be looked at', 'the system refuses', 'nothing fails']) {
  test(`${what}: what is given later goes`, async () => {
    const fs = new FaultFs(new SimFs())
    const names = ['/1', '/2', '/3', '/4']
    for (const name of names) fs.openSync(name, 'create').closeSync()
    let failures = what === 'nothing fails' ? 0 : 2
    const isStuck = (): boolean => failures-- > 0
    if (what === 'the system refuses') fs.before = ({ kind }) => assert.not.ok(kind === 'remove' && isStuck())
    const checkLock = (): void => assert.not.ok(what === 'the lock cannot be looked at' && isStuck())
    const expected = failures
    let told = 0
    const removals = new Removals({ fs, checkLock }, () => void told++)
    removals.remove('/1')
    removals.remove('/2')
    await removals.idle()
    assert.is(removals.idle(), undefined, 'nothing is under way')
    removals.remove('/3')
    await removals.idle()
    removals.remove('/4')
    await removals.idle()
    assert.is(told, expected)
    assert.equal(
      names.filter((name) => fs.existsSync(name)),
      names.slice(0, expected),
    )
  })
}

test.run()
