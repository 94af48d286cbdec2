/** What help tells of a field beyond its declaration; not stored: old recordings gain by it. */
import type { FieldSpecs, RecordSpec } from '../../arena/fields.ts';
import { MachineState } from '../machine.ts';
import { actorHelp } from './actor.ts';
import { countersHelp } from './counters.ts';
import type { RecordHelp } from './form.ts';
import { hostHelp } from './host.ts';
import { irqchipHelp } from './irqchip.ts';
import { lapicHelp } from './lapic.ts';
import { nestedHelp } from './nested.ts';
import { vcpuHelp } from './vcpu.ts';
import { vmHelp } from './vm.ts';
import { vmcsHelp } from './vmcs.ts';
import { vmcs12Help } from './vmcs12.ts';

/** Help of every record. */
export const recordHelp: readonly RecordHelp[] = [
  ...actorHelp,
  ...countersHelp,
  ...hostHelp,
  ...irqchipHelp,
  ...lapicHelp,
  ...nestedHelp,
  ...vcpuHelp,
  ...vmHelp,
  ...vmcsHelp,
  ...vmcs12Help,
];

const ofRecord = (name: string): RecordHelp | undefined =>
  recordHelp.find(({ record }) => record === name);

interface FieldHelp {
  /** of a register: its reset value and what reads and writes do */
  readonly rule: string | undefined;
  /** who writes it; functions of the model in backticks. Undefined of records and arrays. */
  readonly by: string | undefined;
  /** kernel structure and header, or section of the manual */
  readonly source: string | undefined;
}

/** Help of a field of a record, by the names of both. */
export const helpOfField = (record: string, field: string): FieldHelp => {
  const help = ofRecord(record);
  const told = help?.fields.get(field);
  return {
    rule: told?.rule,
    by: told?.by ?? help?.by,
    source: told?.source ?? help?.source,
  };
};

/** Help at a path: `vcpu[1].pi_desc.on`, `vcpu[1].apic`; undefined if nothing is declared there. */
export const helpAt = (path: string): FieldHelp | undefined => {
  let record: RecordSpec<FieldSpecs> | undefined = MachineState;
  let help: FieldHelp | undefined;
  for (const part of path.split('.')) {
    const name = part.split('[', 1)[0]!;
    const field: FieldSpecs[string] | undefined = record?.fields[name];
    if (record === undefined || field === undefined) return undefined;
    help =
      field.of === undefined
        ? helpOfField(record.name, name)
        : { rule: undefined, by: undefined, source: ofRecord(field.of.name)?.source };
    record = field.of;
  }
  return help;
};

/** The same in lines for people: rule, writers, source. */
export const helpLines = (path: string): string[] => {
  const { rule, by, source } = helpAt(path) ?? {};
  return [
    ...(rule === undefined ? [] : [`rule: ${rule}`]),
    ...(by === undefined ? [] : [`written by: ${by}`]),
    ...(source === undefined ? [] : [`see: ${source}`]),
  ];
};
