/** A notification for L2 leads to an interrupt of L2. */

import { APIC_PROCPRI } from '../../state/apicdef.ts';
import { type MachineView, PAGE_SIZE, type VcpuView } from '../../state/machine.ts';
import { mappingKind } from '../../state/nested.ts';
import { classOf } from '../../state/priority.ts';
import { pinControl } from '../../state/vmcs.ts';
import type { Check } from '../check.ts';
import { hex, violated } from '../violation.ts';
import { frameOfGpa, frameOfGpaReads } from './l2_pages.ts';

export const inv_cached_nv: Check = {
  id: 'inv-cached-nv',
  when: 'step',
  per: 'vcpu',
  summary:
    'while L2 is active posted_intr_nv is the notification vector in vmcs12 if that has posted ' +
    'interrupts, else −1',
  why: 'senders compare with it alone: with another value they take an interrupt for a notification',
  races: ['R34'],
  reads: [
    'vcpu[*].guest_mode',
    'vcpu[*].nested.posted_intr_nv',
    'vcpu[*].nested.cached_vmcs12.posted_intr_nv',
    'vcpu[*].nested.cached_vmcs12.pin_based_vm_exec_control',
  ],
  broken(m, index) {
    const { guest_mode, nested } = m.vcpu[index]!;
    if (!guest_mode) return undefined;
    const { pin_based_vm_exec_control: pin, posted_intr_nv } = nested.cached_vmcs12;
    const nv = pin.has(pinControl.POSTED_INTR) ? posted_intr_nv : -1;
    return nested.posted_intr_nv === nv
      ? undefined
      : violated(
          `posted_intr_nv of vCPU ${index} is ${nested.posted_intr_nv}, vmcs12 says ${nv}`,
          `vcpu[${index}].nested.posted_intr_nv`,
        );
  },
};

export const inv_pi_pending_source: Check = {
  id: 'inv-pi-pending-source',
  when: 'step',
  per: 'vcpu',
  summary:
    'pi_pending tells of a notification that came for the L2 that is active, and no notification ' +
    'is forgotten',
  why: 'a notification that came too late for L2, or that a restore forgot, is seen by nobody',
  races: ['R36', 'R38', 'R39'],
  reads: [
    'vcpu[*].spec.notifications_lost',
    'vcpu[*].guest_mode',
    'vcpu[*].nested.pi_pending',
    'vcpu[*].nested.posted_intr_nv',
  ],
  broken(m, index) {
    const { spec, guest_mode, nested } = m.vcpu[index]!;
    if (spec.notifications_lost > 0) {
      return violated(
        `a notification for L2 of vCPU ${index} was forgotten (${spec.notifications_lost} so far)`,
        `vcpu[${index}].spec.notifications_lost`,
      );
    }
    return guest_mode && nested.pi_pending && nested.posted_intr_nv === -1
      ? violated(
          `pi_pending of vCPU ${index} is set, but its L2 has no posted interrupts`,
          `vcpu[${index}].nested.pi_pending`,
          `vcpu[${index}].nested.posted_intr_nv`,
        )
      : undefined;
  },
};

const wordsOfPir = 8;
const offsetOfControl = 0x20;
const ON = 1;

type HostMap = VcpuView['nested']['pi_desc_map'];
type Bytes = MachineView['frame'][number]['data'];

/**
 * The page for an address that vmcs12 has: the one that KVM has mapped and thereby keeps (R85), or,
 * for a cache, which follows L1, the one that L1 has now. None while no memory is there.
 */
const pageOf = (m: MachineView, { mapping, pfn }: HostMap, gpa: number): Bytes | undefined =>
  m.frame[mapping === mappingKind.NONE ? frameOfGpa(m, gpa) : pfn]?.data;

/** The highest vector that a descriptor with ON set has, −1 for none. */
const postedIn = (page: Bytes | undefined, offset: number): number => {
  if (page === undefined || (page.u32(offset + offsetOfControl) & ON) === 0) return -1;
  for (let word = wordsOfPir - 1; word >= 0; word--) {
    const posted = page.u32(offset + 4 * word);
    if (posted !== 0) return word * 32 + 31 - Math.clz32(posted);
  }
  return -1;
};

/**
 * The vector that was posted for L2 with ON set and its notification sent, if L2 is active and
 * would take it; −1 for none. vmcs02 is not asked: that of a halted L2 may still name a page that
 * L1 has given back, and what that held is nobody's interrupt.
 */
export const dueForL2 = (m: MachineView, index: number): number => {
  const { guest_mode, guest, vmcs02, nested, spec } = m.vcpu[index]!;
  if (!guest_mode || !spec.nested_notified || !guest.rflags_if) return -1;
  if (!vmcs02.pin_based_vm_exec_control.has(pinControl.POSTED_INTR)) return -1;
  const { posted_intr_desc_addr: pid, virtual_apic_page_addr: vapic } = nested.cached_vmcs12;
  const vector = postedIn(pageOf(m, nested.pi_desc_map, pid), pid % PAGE_SIZE);
  const vppr = pageOf(m, nested.virtual_apic_map, vapic)?.u32(APIC_PROCPRI) ?? 0;
  // Vector 0 counts as none.
  return vector > 0 && classOf(vector) > classOf(vppr) ? vector : -1;
};

/** What `dueForL2` reads. */
export const dueForL2Reads: readonly string[] = [
  'vcpu[*].guest_mode',
  'vcpu[*].vmcs02.pin_based_vm_exec_control',
  'vcpu[*].nested.cached_vmcs12.posted_intr_desc_addr',
  'vcpu[*].nested.cached_vmcs12.virtual_apic_page_addr',
  'vcpu[*].nested.pi_desc_map.*',
  'vcpu[*].nested.virtual_apic_map.*',
  'vcpu[*].spec.nested_notified',
  'vcpu[*].guest.rflags_if',
  'frame[*].data',
  ...frameOfGpaReads,
];

export const inv_nested_pi_progress: Check = {
  id: 'inv-nested-pi-progress',
  when: 'quiet',
  per: 'vcpu',
  summary:
    'nobody rests with an L2 active for which a vector is posted that its priority lets through, ' +
    'with ON set and the notification sent',
  why: 'L2 sleeps or runs on without its interrupt until L1 happens to send another one',
  races: ['R31', 'R35', 'R37', 'R39'],
  reads: dueForL2Reads,
  broken(m, index) {
    const vector = dueForL2(m, index);
    return vector < 0
      ? undefined
      : violated(
          `vector ${hex(vector)} is posted for L2 of vCPU ${index}, which was notified, and nobody ` +
            'will deliver it',
          `vcpu[${index}].nested.cached_vmcs12.posted_intr_desc_addr`,
          `vcpu[${index}].nested.pi_pending`,
        );
  },
};
