/** Nothing is written to memory that was given back. */
import type { Check } from '../check.ts';
import { violated } from '../violation.ts';

export const inv_freed_frame_untouched: Check = {
  id: 'inv-freed-frame-untouched',
  when: 'step',
  per: 'machine',
  summary: 'neither the CPU nor KVM writes to a frame that was freed',
  why: 'a write after free corrupts whoever got the frame next',
  races: [
    'R01',
    'R44',
    'R70',
    'R71',
    'R72',
    'R75',
    'R76',
    'R78',
    'R82',
    'R83',
    'R84',
    'R85',
    'R86',
  ],
  reads: ['vm.spec.freed_frame_writes'],
  broken(m) {
    const count = m.vm.spec.freed_frame_writes;
    return count === 0
      ? undefined
      : violated(`a freed frame was written (${count} so far)`, 'vm.spec.freed_frame_writes');
  },
};
