/** Posted-interrupt processing: what a notification does while the guest runs. */
import { APIC_IRR } from '../state/apicdef.ts';
import { loadedVmcs } from '../state/vcpu.ts';
import { type Machine, sdm } from '../steps.ts';
import { readVirtualApic, writeVirtualApic } from './apic_virtualization.ts';
import { readPhysical, writePhysical } from './memory.ts';
import { acknowledgeVector } from './physical_interrupts.ts';
import { evaluatePendingInterrupts } from './virtual_interrupts.ts';
import { currentVmcs, rviOf, setRvi } from './vmcs.ts';

/** Places in a posted-interrupt descriptor. @vtd 9.11 Posted Interrupt Descriptor */
const wordsOfPir = 8;
export const offsetOfControl = 0x20;
export const offsetOfNdst = 0x24;
export const ON = 1 << 0;
export const SN = 1 << 1;
export const nvOfControl = (control: number): number => (control >>> 16) & 0xff;

/** The CPU takes one word of PIR and puts it into VIRR; gives its highest vector, −1 for none. */
const takeWord = (m: Machine, vcpu: number, address: number, word: number): number => {
  const posted = readPhysical(m, address);
  // Nobody but this CPU clears bits of PIR while the guest runs, unless the hypervisor is wrong.
  if (posted === 0) return -1;
  writePhysical(m, address, 0);
  const virr = APIC_IRR + 16 * word;
  writeVirtualApic(m, vcpu, virr, readVirtualApic(m, vcpu, virr) | posted);
  return word * 32 + 31 - Math.clz32(posted);
};

/**
 * The notification vector has arrived: what was posted becomes requested. PIR is taken whatever ON
 * was. ON is cleared before the first word is taken, so that a sender that sets a bit too late for
 * this harvest finds ON clear and notifies again. Between the two, and between the words, senders
 * go on; no interrupt comes between them.
 */
export const postedInterruptProcessing = sdm(
  '30.6',
  function* postedInterruptProcessing(m: Machine, vcpuIndex: number, vector: number) {
    const vmcs = currentVmcs(m, vcpuIndex);
    const { loaded_vmcs, spec } = m.vcpu[vcpuIndex]!;
    const descriptor = vmcs.posted_intr_desc_addr;
    yield m.step('acknowledge vector {vector}; clear ON', vector);
    acknowledgeVector(m, m.vcpu[vcpuIndex]!.cpu, vector);
    const control = descriptor + offsetOfControl;
    writePhysical(m, control, readPhysical(m, control) & ~ON);
    spec.harvesting++;
    if (loaded_vmcs === loadedVmcs.VMCS02) spec.pi_desc_written = true;
    let highest = -1;
    for (let word = 0; word < wordsOfPir; word++) {
      const address = descriptor + 4 * word;
      if (readPhysical(m, address) === 0) continue;
      yield m.step('take word {word} of PIR into VIRR', word);
      highest = Math.max(highest, takeWord(m, vcpuIndex, address, word));
    }
    spec.harvesting--;
    if (highest >= 0) setRvi(vmcs, Math.max(rviOf(vmcs), highest));
    evaluatePendingInterrupts(m, vcpuIndex);
  },
);
