//! The macro that declares the setters of an options struct.

/// Declares a setter for each field of an options struct: `with_name(name: Type)` assigns its argument,
/// `with_name(name: Type) = expression` the expression. A field without a setter is a compile error.
#[macro_export]
macro_rules! setters {
    ($options:ident { $($(#[cfg($cfg:meta)])? $setter:ident($field:ident: $type:ty) $(= $value:expr)?;)+ }) => {
        impl $options {
            $($(#[cfg($cfg)])?
            #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
            #[must_use]
            pub fn $setter(mut self, $field: $type) -> Self {
                self.$field = $crate::setters!(@value $field $($value)?);
                self
            })+
        }

        const _: fn($options) = |options| {
            let $options { $($(#[cfg($cfg)])? $field: _),+ } = options;
        };
    };
    (@value $field:ident) => {
        $field
    };
    (@value $field:ident $value:expr) => {
        $value
    };
}
