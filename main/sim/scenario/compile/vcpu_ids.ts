/** The IDs of the vCPUs, as KVM_CREATE_VCPU takes them or not. */
import { limits } from '../../state/limits.ts';
import type { Word } from '../parse/tree.ts';
import type { Report } from './context.ts';

interface Written {
  readonly word: Word;
  readonly value: number | string;
}

/** "apic-id" with all its numbers; `count` has those that could not be read, too. */
interface Ids extends Written {
  readonly all: readonly Written[];
  readonly count: number;
}

const refused = 'KVM_CREATE_VCPU fails with';

/** One vCPU after the other; an ID that is refused is reported. IDs have to be below the `end`. */
export const idsOf = (
  said: Ids | undefined,
  vcpus: number,
  end: Written | undefined,
  report: Report,
): readonly number[] | undefined => {
  const below = Number(end?.value ?? limits.vcpuIds);
  if (said === undefined) {
    if (vcpus > below) {
      report(end!.word, `${refused} EINVAL: the last vCPU has the ID ${vcpus - 1}; write more`);
    }
    return undefined;
  }
  const ids = said.all.map(({ value }) => Number(value));
  for (const [index, { word }] of said.all.entries()) {
    const id = ids[index]!;
    if (id >= below) report(word, `${refused} EINVAL: "max-vcpu-id" is ${below}; write less`);
    if (ids.indexOf(id) === index) continue;
    report(word, `${refused} EEXIST: another vCPU has this ID; give each its own`);
  }
  if (ids.length === vcpus) return ids;
  if (said.count !== vcpus) {
    report(said.word, `"apic-id" is for all ${vcpus} vCPUs, not for ${said.count}; write each ID`);
  }
  return undefined;
};
