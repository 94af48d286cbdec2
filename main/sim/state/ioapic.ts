/** struct kvm_ioapic and the output of the PIC. */
import { array, bits, counter, flag, record, s32, u32, u64 } from '../arena/fields.ts';

export const IOAPIC_NUM_PINS = 24;
export const RTC_GSI = 8;
/** Redirection entry, low half. */
export const redirection = {
  VECTOR: 0xff,
  DELIVERY_MODE: 7 << 8,
  DEST_MODE: 1 << 11,
  DELIVERY_STATUS: 1 << 12,
  POLARITY: 1 << 13,
  REMOTE_IRR: 1 << 14,
  LEVEL: 1 << 15,
  MASK: 1 << 16,
} as const;

export const RedirectionEntry = record('kvm_ioapic_redirect_entry', 'where a pin goes', {
  low: u32('vector 7:0, delivery mode 10:8, logical 11, remote IRR 14, level 15, mask 16'),
  high: u32('destination in bits 31:24'),
  eoi_count: counter('EOIs in a row that found the line still asserted (irq_eoi)'),
});

export const RtcVector = record('rtc_vector', 'what an RTC interrupt was to one vCPU', {
  vector: u32({ as: 'vector' }, 'the vector that was delivered'),
});

export const Ioapic = record('kvm_ioapic', 'the IOAPIC, in KVM or in user space', {
  lock: s32('the actor that holds the lock plus 1, 0 for none'),
  ioregsel: u32('the register that the window shows'),
  id: u32('ID register, bits 27:24 of it'),
  irr: bits(32, { as: 'dec' }, 'pins with an interrupt that waits to be sent'),
  line: bits(32, { as: 'dec' }, 'pins whose line is asserted (irq_states)'),
  redirtbl: array(RedirectionEntry, IOAPIC_NUM_PINS, 'the redirection table'),
  rtc_pending_eoi: s32('vCPUs that still have to EOI the last RTC interrupt'),
  rtc_dest: bits(32, { as: 'dec' }, 'vCPUs that got it'),
  rtc_vector: array(RtcVector, 'vcpus', 'the vector by vCPU'),
  successive_irq_max: counter(
    'as many EOIs in a row that find a line asserted are a storm (IOAPIC_SUCCESSIVE_IRQ_MAX_COUNT)',
  ),
  eoi_inject: bits(32, { as: 'dec' }, 'pins that are re-injected when the delayed work runs'),
  eoi_inject_due: u64({ as: 'dec' }, 'when the delayed work runs, ns of the host clock'),
});

/** A route of KVM_SET_GSI_ROUTING, and the pin of an IOAPIC in user space that it stands for. */
export const MsiRoute = record('kvm_msi_route', 'what a GSI sends', {
  used: flag('there is a route'),
  address_lo: u32('destination 19:12, redirection hint 3, logical 2'),
  address_hi: u32('destination 31:8 where x2APIC IDs have 32 bits'),
  data: u32('level 15, delivery mode 10:8, vector 7:0'),
  line: flag('IOAPIC of user space: the line of the pin is asserted'),
  remote_irr: flag('IOAPIC of user space: it was sent, and its EOI has not come yet'),
});

export const Pic = record('kvm_pic', 'the output of the PIC pair, in KVM or in user space', {
  output: u32('1 while the PIC asserts INTR'),
  vector: u32({ as: 'vector' }, 'the vector it gives when it is acknowledged'),
});
