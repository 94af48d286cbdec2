/** Records a synthetic run without end and tells how far it is: `killed.test.ts` ends it. */
import { writeSync } from 'node:fs';
import { argv } from 'node:process';
import { Recorder } from '../../db/recorder.ts';
import { synthetic, syntheticSiteOf } from './synthetic.ts';

const [path = '', stepsPerTurn = '500'] = argv.slice(2);
const machine = synthetic({ seed: 5 });
const { arena, header } = machine;
const recorder = new Recorder({ path, header, arena, siteOf: syntheticSiteOf });

/** A turn every millisecond or so: some runs are fast, and some mostly wait. */
const turn = (): void => {
  for (let i = 0; i < Number(stepsPerTurn); i++) recorder.stepClosed(undefined, machine.step());
  writeSync(1, `${Date.now()} ${arena.position}\n`);
  setTimeout(turn, 1);
};

setInterval(() => recorder.flush(), 100);
turn();
